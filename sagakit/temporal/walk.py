"""The walk through all single failures of a saga: every fault at each step, at the undo of each, and at each wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from sagakit.messages import Event
from sagakit.temporal.faults import STEP_FAULTS, UNDO_FAULTS, WAIT_FAULTS, Fault
from sagakit.temporal.played import Played
from sagakit.temporal.tree import taken

_SIDE_BY_SIDE = 6
_OF_AN_EVENT = ("wait lost", "wait late", "wait doubled")


@dataclass(frozen=True)
class Scenario:
    """One rehearsal of a walk through all failures: where, what went wrong, and how the saga ended.

    At a wait ``step`` is the number of steps before it, and ``command`` what was waited for.
    """

    step: int
    command: str
    fault: Fault
    played: Played

    @property
    def place(self) -> str:
        """Say whether it happened at a *step*, at the *undo* of one, or at a *wait*."""
        return "undo" if self.fault in UNDO_FAULTS else "wait" if self.fault in WAIT_FAULTS else "step"


@dataclass(frozen=True)
class Walk(Sequence[Scenario]):
    """All the single failures of a saga, each played and checked. ``well`` is the run on which nothing failed."""

    saga: str
    well: Played
    scenarios: tuple[Scenario, ...]

    @overload
    def __getitem__(self, index: int) -> Scenario: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Scenario]: ...
    def __getitem__(self, index: int | slice) -> Scenario | Sequence[Scenario]:
        """Return one of the scenarios."""
        return self.scenarios[index]

    def __len__(self) -> int:
        """Count the failure points times what went wrong there."""
        return len(self.scenarios)

    @property
    def counts(self) -> Counter[str]:
        """How often each fault was done to the saga."""
        return Counter(scenario.fault for scenario in self.scenarios)

    @property
    def ends(self) -> Counter[str]:
        """How often the saga ended in each way."""
        return Counter(scenario.played.status for scenario in self.scenarios)

    @property
    def points(self) -> int:
        """The places at which something was done to the saga: steps, undos and waits."""
        return len({(scenario.place, scenario.step, scenario.command) for scenario in self.scenarios})

    def summary(self) -> str:
        """Say in one sentence what was walked."""
        parked = sum(scenario.played.was_parked for scenario in self.scenarios)
        return (
            f"{self.saga}: {len(self)} failures at {self.points} points ({_listed(self.counts)}), "
            f"ended {_listed(self.ends)}; {parked} were parked on the way; nothing done twice, nothing left half undone"
        )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


@dataclass(frozen=True)
class _Point:
    """A failure to come, and how it is brought about."""

    step: int
    command: str
    fault: Fault
    faults: Mapping[int, Fault]
    at_waits: Mapping[int, Fault]


Play = Callable[[Mapping[int, Fault], Mapping[int, Fault], bool, bool], Awaitable[Played]]


async def walked(saga: str, play: Play, told: Iterable[Event], faults: Iterable[Fault]) -> Walk:
    """Play a saga well, then with each fault wherever it can happen, some side by side.

    ``play`` takes faults by step and by wait, whether an event is told only when it is waited for, and whether the run is about
    something of its own. Raises `AssertionError` for a fault whose place the saga never came to, and whatever a check finds.
    """
    chosen = frozenset(faults)
    well = await play({}, {}, False, False)  # noqa: FBT003 the type says what they are
    points = [*_of_steps(well, chosen)]
    if chosen & set(WAIT_FAULTS):
        points += _of_waits(await play({}, {}, True, _has_children(well)), [event.event_name for event in told], chosen)  # noqa: FBT003
    room, is_apart = asyncio.Semaphore(_SIDE_BY_SIDE), _has_children(well)

    async def one(point: _Point) -> Scenario:
        async with room:
            played = await play(point.faults, point.at_waits, bool(point.at_waits), is_apart)
        if played.missed:
            raise AssertionError(f"{saga} never came to {point.fault} at {point.step}, {point.command}: nothing was shown")
        return Scenario(point.step, point.command, point.fault, played)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(point)) for point in points]
    return Walk(saga, well, tuple(task.result() for task in tasks))


def _has_children(played: Played) -> bool:
    """Tell whether it began other sagas: those are named by what they are about, and run once."""
    return any(not key.startswith(f"{played.workflow_id}/") for key in played.standing)


def _of_steps(well: Played, chosen: frozenset[Fault]) -> Iterator[_Point]:
    steps = taken(well.calls, well.kinds)
    last = next((number for number, _, kind in steps if kind == "pivot"), len(steps))
    for number, name, kind in steps:
        for fault in STEP_FAULTS:
            if fault in chosen:
                yield _Point(number, name, fault, {number: fault}, {})
        for undo in UNDO_FAULTS:
            # Something behind it has to fail, so that it is undone at all.
            if undo in chosen and kind == "compensable" and number < last:
                yield _Point(number, name, undo, {number: undo, last: "refused"}, {})


def _of_waits(well: Played, told: Sequence[str], chosen: frozenset[Fault]) -> Iterator[_Point]:
    for place, (after, what) in enumerate(well.waited):
        for fault in WAIT_FAULTS:
            if fault in chosen and (fault not in _OF_AN_EVENT or what.strip("`") in told):
                yield _Point(after, what, fault, {}, {place: fault})
