"""The judge of the bank test: reads the logs of accounts and wallets as plain JSON and does its own sums.

It shares nothing with what moves the money. At any cut of both logs that is causally consistent, what all holders have and what
is on its way come to what was brought in. A cut is consistent when no credit stands in it whose debit does not: each credit
says where its debit is recorded. Source: Chandy and Lamport, Distributed Snapshots, TOCS 3(1), 1985.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sagakit.messages import RecordedEvent

LOGS = ("accounts", "wallets")


@dataclass(frozen=True)
class Sample:
    """The money at one cut. ``cut`` is the position up to which each log is in it; ``held_back`` were read, but not in it."""

    cut: tuple[int, ...]
    balances: int
    in_transit: int
    brought_in: int
    held_back: int

    @property
    def is_square(self) -> bool:
        """True when no money was made or lost."""
        return self.balances + self.in_transit == self.brought_in


@dataclass
class Audit:
    """Folds both logs up to the farthest consistent cut of what it was given.

    ``fates`` says where the money of each transfer is; ``faults`` what no order of events can explain, in words.
    """

    fates: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _waiting: dict[str, deque[RecordedEvent]] = field(default_factory=lambda: {log: deque() for log in LOGS})
    _cut: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOGS, 0))
    _versions: dict[str, int] = field(default_factory=dict)
    _balances: dict[str, int] = field(default_factory=dict)
    _on_the_way: dict[str, int] = field(default_factory=dict)
    _brought_in: int = 0

    @property
    def on_the_way(self) -> Mapping[str, int]:
        """What is in transit at the cut, in pence by transfer."""
        return self._on_the_way

    def take(self, log: str, events: Iterable[RecordedEvent]) -> None:
        """Take the next events of a log, in the order of their positions."""
        self._waiting[log].extend(events)

    def sample(self) -> Sample:
        """Move the cut as far as it goes, and say what money is where."""
        is_moving = True
        while is_moving:
            is_moving = False
            for log, waiting in self._waiting.items():
                while waiting and self.may_follow(data := json.loads(waiting[0].data)):
                    event = waiting.popleft()
                    self._cut[log], self._versions[event.stream] = event.position, event.version
                    self._book(event, data)
                    is_moving = True
        held_back = sum(len(waiting) for waiting in self._waiting.values())
        balances, on_the_way = sum(self._balances.values()), sum(self._on_the_way.values())
        return Sample(tuple(self._cut.values()), balances, on_the_way, self._brought_in, held_back)

    def may_follow(self, data: Mapping[str, Any]) -> bool:
        """Tell whether everything that an event depends on is in the cut."""
        stream, _, version = str(data.get("after", "")).rpartition("@")
        return not stream or self._versions.get(stream, 0) >= int(version)

    def _book(self, event: RecordedEvent, data: Mapping[str, Any]) -> None:
        what, holder = event.type.partition(".")[2], event.stream
        if what == "opened":
            self._balances[holder] = self._balances.get(holder, 0) + data["pence"]
            self._brought_in += data["pence"]
        elif what == "debited":
            self._move(holder, -data["pence"])
            self._expect(data, event, "on its way", None)
            self._on_the_way[data["transfer_id"]] = data["pence"]
        elif what in ("credited", "refunded"):
            self._move(holder, data["pence"])
            self._expect(data, event, what, "on its way")
            self._on_the_way.pop(data["transfer_id"], None)

    def _move(self, holder: str, pence: int) -> None:
        self._balances[holder] = self._balances.get(holder, 0) + pence
        if self._balances[holder] < 0:
            self.faults.append(f"{holder} is below zero")

    def _expect(self, data: Mapping[str, Any], event: RecordedEvent, becomes: str, before: str | None) -> None:
        transfer = data["transfer_id"]
        found = self.fates.get(transfer)
        if found != before:
            self.faults.append(f"transfer {transfer} is {becomes} by {event.stream}@{event.version}, and was {found} already")
        self.fates[transfer] = becomes


def samples_of(logs: Mapping[str, Sequence[RecordedEvent]], chance: Random, wanted: int) -> tuple[list[Sample], Audit]:
    """Cut two whole logs at random places, the one far ahead of the other, at least ``wanted`` times if they are that long."""
    audit, samples = Audit(), list[Sample]()
    left = {log: deque(events) for log, events in logs.items()}
    longest = max(1, sum(len(events) for events in left.values()) // (wanted + 1))
    while any(left.values()):
        log = chance.choice([log for log, events in left.items() if events])
        count = min(len(left[log]), chance.randint(1, longest))
        audit.take(log, [left[log].popleft() for _ in range(count)])
        samples.append(audit.sample())
    return samples, audit
