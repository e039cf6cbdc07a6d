"""Follows the logs of the bank test while it runs: which transfers have ended, and the money at one cut after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from sagakit.errors import InfrastructureError
from sagakit.messages import RecordedEvent
from sagakit.ports import LogReader
from sagakit.system import System
from worker.bank.audit import LOGS, Audit, Sample

_PAUSE_SECONDS = 0.1
_PAGE = 500
_ENDS = {"transfer.completed": "completed", "transfer.rejected": "compensated"}


@dataclass
class Course:
    """What is known from the logs so far. ``ends`` says how each transfer of this run ended that did."""

    run: str
    chance: Random
    readers: dict[str, LogReader]
    audit: Audit = field(default_factory=Audit)
    ends: dict[str, str] = field(default_factory=dict)
    requested: int = 0
    ended_twice: int = 0
    samples: list[Sample] = field(default_factory=list)
    logs: dict[str, list[RecordedEvent]] = field(default_factory=lambda: {log: [] for log in LOGS})

    @classmethod
    async def of(cls, run: str, system: System, chance: Random) -> Course:
        """Begin at the beginning of each log."""
        readers: dict[str, LogReader] = {log: (await system.open(log)).store.reader(0) for log in ("transfers", *LOGS)}
        return cls(run, chance, readers)

    async def look(self) -> None:
        """Read what is new, the logs in any order, and take a sample if the cut has moved."""
        for log in self.chance.sample(list(self.readers), len(self.readers)):
            while events := await self.readers[log].read(_PAGE):
                if log in LOGS:
                    self.logs[log] += events
                    self.audit.take(log, events)
                else:
                    self._note(events)
        sample = self.audit.sample()
        if not self.samples or sample.cut != self.samples[-1].cut:
            self.samples.append(sample)

    def _note(self, events: list[RecordedEvent]) -> None:
        for event in events:
            transfer = event.aggregate_id
            if not transfer.startswith(f"{self.run}-"):
                continue
            self.requested += event.type == "transfer.requested"
            if event.type in _ENDS:
                self.ended_twice += transfer in self.ends
                self.ends[transfer] = _ENDS[event.type]

    @property
    def disagreements(self) -> list[str]:
        """Compare how transfers ended with where the money of each is; each that does not fit, in words."""
        fits: dict[str, tuple[str | None, ...]] = {"completed": ("credited",), "compensated": ("refunded", None)}
        fates = ((transfer, end, self.audit.fates.get(transfer)) for transfer, end in self.ends.items())
        return [f"transfer {transfer} is {end}, its money {fate}" for transfer, end, fate in fates if fate not in fits[end]]

    async def follow(self, is_over: Callable[[], Awaitable[bool]]) -> None:
        """Look again and again until it is over; a database that does not answer for a moment is waited for."""
        while True:
            try:
                await self.look()
                if await is_over():
                    return
            except InfrastructureError:
                pass  # what was killed comes back
            await asyncio.sleep(_PAUSE_SECONDS)
