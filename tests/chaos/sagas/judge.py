"""Judges harmed sagas from outside: by the events in the logs, and by the fences that the services keep, never by what a saga says.

A fence is the row of a command's key with its outcome. Each step has at most one that is *done* and its undo at most one;
the events in the log under a key are as many as its outcome names.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from sagakit.log import read_to_head
from sagakit.outcome import CommandOutcome
from sagakit.system import System
from tests.chaos.sagas.run import Run

_KEY = re.compile(r"(?P<item>(?P<step>.+/\d+)/\d+)(?:/retry-\d+)?(?P<undo>/undo(?:/retry-\d+)?)?")


@dataclass
class Item:
    """What became of one command of a step, over all attempts at it and at its undo."""

    step: str
    done: int = 0
    undone: int = 0
    other: list[str] = field(default_factory=list)
    surplus: int = 0


@dataclass
class Evidence:
    """The fences and the events of all services."""

    items: dict[str, Item]
    parked_events: int

    @classmethod
    async def of(cls, system: System) -> Evidence:
        """Read it from the databases, on which nothing works any more."""
        fences: dict[str, CommandOutcome] = {}
        events: Counter[str] = Counter()
        parked = 0
        for service in system.services.services:
            opened = await system.open(service.name)
            async with opened.tables.engine.connect() as connection:
                parked += (await connection.execute(text("select count(*) from sagakit_parked"))).scalar_one()
                if service.aggregates:
                    rows = (await connection.execute(text("select key, outcome from commands"))).all()
                    fences |= {key: CommandOutcome.model_validate_json(_as_text(outcome)) for key, outcome in rows}
            if service.aggregates:
                async for event in read_to_head(opened.store):
                    events[event.metadata.command_key or ""] += 1
        return cls(items_of(fences, events), parked)


def _as_text(outcome: object) -> str:
    return outcome if isinstance(outcome, str) else json.dumps(outcome)


def items_of(fences: dict[str, CommandOutcome], events: Counter[str]) -> dict[str, Item]:
    """Put the fences and the events of a command together, over all attempts at it and at its undo."""
    items: dict[str, Item] = {}
    for key in fences.keys() | events.keys():
        if (match := _KEY.fullmatch(key)) is None:
            continue
        item = items.setdefault(match["item"], Item(match["step"]))
        outcome = fences.get(key)
        if outcome is not None and outcome.status == "done":
            item.undone, item.done = item.undone + bool(match["undo"]), item.done + (not match["undo"])
        elif outcome is not None:
            item.other.append(outcome.status)
        item.surplus += max(0, events[key] - len(outcome.events if outcome else ()))
    return items


@dataclass
class Verdict:
    """What is wrong with one run, in words."""

    run: Run
    double_effects: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)


def judged(runs: Sequence[Run], evidence: Evidence, reached: Mapping[str, Mapping[str, str]]) -> list[Verdict]:
    """Judge each run; ``reached`` are the steps that each came to with the names of their commands, by its key."""
    by_run: dict[str, dict[str, Item]] = defaultdict(dict)
    for name, item in evidence.items.items():
        by_run[_key_in(name)][name] = item
    return [_judged(run, by_run[run.key], reached.get(run.key, {})) for run in runs]


def _key_in(name: str) -> str:
    found = re.search(r"fp\d{6}", name)
    return found[0] if found else ""


def _judged(run: Run, items: dict[str, Item], reached: Mapping[str, str]) -> Verdict:
    verdict = Verdict(run)
    for name, item in items.items():
        if item.done > 1 or item.undone > 1 or item.surplus:
            verdict.double_effects.append(
                f"{name}: done {item.done} times, undone {item.undone} times, {item.surplus} events more"
            )
        if item.undone and not item.done:
            verdict.breaks.append(f"{name}: undone, and never done")
        may_be_given_up = _is_in(run.may_be_given_up, item.step, reached)
        if run.status == "completed" and item.undone and not may_be_given_up:
            verdict.breaks.append(f"{name}: undone, and the saga completed")
        if run.status == "completed" and run.harm == "time-out" and may_be_given_up and item.done and not item.undone:
            verdict.breaks.append(f"{name}: given up and done, and the saga completed")
        if run.status == "compensated" and item.done and not item.undone and _is_in(run.undoable, item.step, reached):
            verdict.breaks.append(f"{name}: done and not undone, and the saga compensated")
    if run.status == "completed":
        known = {item.step for item in items.values() if item.done or "refused" in item.other}
        known |= {i.step for i in items.values() if "fenced" in i.other and _is_in(run.may_be_given_up, i.step, reached)}
        verdict.breaks += [f"{step}: neither done nor refused, and the saga completed" for step in reached if step not in known]
    if run.has_ended and run.status not in run.ends:
        verdict.breaks.append(f"it is {run.status}, expected {' or '.join(sorted(run.ends))}")
    return verdict


def _is_in(steps: frozenset[tuple[str, str | None]], step: str, reached: Mapping[str, str]) -> bool:
    """Tell whether a step is one of these, under its command's name: a saga that failed has others under the numbers."""
    return (step, reached.get(step)) in steps
