"""The failure points of a saga, found by running it: each step call, each undo, each wait. And what is to go wrong at each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from sagakit.testing import Rehearsal
from tests.chaos.sagas.ground import Ground
from tests.chaos.sagas.run import EITHER, HARMS, KILL, Run
from tests.support.harm import Harm, Planned

Plan = tuple[str, bool, Harm]
_numbers = count(1)
_KILLS: tuple[Harm, ...] = ("worker kill -9 before the effect", "worker kill -9 behind the effect")
_COMPLETED, _COMPENSATED = frozenset({"completed"}), frozenset({"compensated"})


@dataclass(frozen=True)
class Points:
    """Where a saga can be harmed. The keys are those of a run whose own key is ``key``.

    ``limited`` are the steps that have to be done within a time; ``kinds`` are by key, of its last chapter.
    """

    rehearsal: Rehearsal
    key: str
    steps: dict[str, str]
    limited: frozenset[str]
    kinds: dict[str, str]
    undos: dict[str, str]
    refused: str
    waits: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.steps) + len(self.undos) + len(self.waits)


def run_of(rehearsal: Rehearsal, point: str = "", harm: str = "") -> Run:
    """A run with a key of its own."""
    return Run(rehearsal, f"fp{next(_numbers):06d}", point, harm)


async def found(ground: Ground, rehearsals: tuple[Rehearsal, ...]) -> list[Points]:
    """Run each saga well, then once with a refusal at its pivot, or its last step where it has none, and note what was reached."""
    well = [run_of(rehearsal) for rehearsal in rehearsals]
    await _run(ground, well)
    for run in well:
        assert run.status == "completed", f"{run.workflow_id} is {run.status}: has its rehearsal all that is `given`?"
    refused: list[Run] = []
    kinds: list[dict[str, str]] = []
    shown: list[dict[str, object]] = []
    for run in well:
        answer = await ground.client.get_workflow_handle(run.workflow_id).query("steps")
        kinds.append({f"{run.workflow_id}/{step['number']}": step["kind"] for step in answer["steps"]})
        steps = list(_reached(ground, run, is_undo=False))
        pivot = next((key for key in steps if kinds[-1].get(key) == "pivot"), steps[-1])
        other = run_of(run.rehearsal)
        other.plans = (Planned(pivot.replace(run.key, other.key), is_undo=False, harm="business refusal"),)
        refused.append(other)
        shown.append(answer)
    await _run(ground, refused)
    points = []
    for run, other, of_run, answer in zip(well, refused, kinds, shown, strict=True):
        undos = {key.replace(other.key, run.key): name for key, name in _reached(ground, other, is_undo=True).items()}
        pivot = other.plans[0].key.replace(other.key, run.key)
        waits = tuple(what for _, what in answer["waited"])  # type: ignore[attr-defined]
        steps = _reached(ground, run, is_undo=False)
        limited = frozenset(line["key"] for line in _lines_of(ground, run) if line["has_limit"])
        points.append(Points(run.rehearsal, run.key, steps, limited, of_run, undos, pivot, waits))
    return points


async def _run(ground: Ground, runs: list[Run]) -> None:
    await ground.start_worker(runs)
    await ground.given(runs)
    for run in runs:
        await ground.begin(run)
    await ground.to_their_ends(runs, lambda _: None)


def _reached(ground: Ground, run: Run, *, is_undo: bool) -> dict[str, str]:
    """The keys of the steps, or undos, that a run came to, each with its command's name, in their order."""
    return {line["key"]: line["name"] for line in _lines_of(ground, run) if line["is_undo"] == is_undo}


def _lines_of(ground: Ground, run: Run) -> list[dict[str, Any]]:
    return [line for line in ground.journal.read() if line["what"] == "reached" and run.key in line["key"]]


def runs_at(points: Points) -> Iterator[Run]:
    """One run for each thing that is to go wrong at each point."""
    for place, name in points.steps.items():
        for harm in HARMS:
            for exact in _exactly(harm):
                plans = [(place, False, exact), *_so_that_it_compensates(points, place, harm)]
                run = _harmed(points, name, harm, plans, _ends_of_step(points, place, harm))
                if place in points.limited and harm in ("time-out", "late success"):
                    run.may_be_given_up = frozenset(step for step in run.undoable if step[0] == run.plans[0].key)
                yield run
    for place, name in points.undos.items():
        if place == points.refused:
            continue
        for harm in HARMS:
            for exact in _exactly(harm):
                plans = [(points.refused, False, "business refusal"), (place, True, exact)]
                yield _harmed(points, f"undo by {name}", harm, plans, _COMPENSATED)
    yield from _at_waits(points)


def _at_waits(points: Points) -> Iterator[Run]:
    told = {f"`{event.event_name}`" for event in points.rehearsal.told}
    for number, what in enumerate(points.waits):
        for harm in HARMS[1:]:  # a wait asks nobody who could refuse
            if what in told or harm in (KILL, "cancel", "time-out"):
                run = run_of(points.rehearsal, f"wait for {what}", harm)
                run.wait, run.undoable = number, _undoable(points, run)
                run.ends = _COMPLETED if harm in (KILL, "double event") else EITHER
                yield run


def _so_that_it_compensates(points: Points, place: str, harm: str) -> list[Plan]:
    """A saga that gives a step up and goes on without it is to fail at its pivot, so that the late call meets a fence.

    By name: it may have taken other steps by then.
    """
    is_before = points.kinds.get(place) in ("compensable", "read-only") and place not in points.limited
    if harm != "late success" or not is_before or place == points.refused:
        return []
    return [(f"{points.refused.rpartition('/')[0]}/{points.steps[points.refused]}", False, "business refusal")]


def _exactly(harm: str) -> tuple[Harm, ...]:
    return _KILLS if harm == KILL else (harm,)  # type: ignore[return-value]


def _harmed(points: Points, point: str, harm: str, plans: list[Plan], ends: frozenset[str]) -> Run:
    run = run_of(points.rehearsal, point, harm)
    run.plans = tuple(Planned(place.replace(points.key, run.key), is_undo, exact) for place, is_undo, exact in plans)
    run.ends, run.undoable = ends, _undoable(points, run)
    return run


def _undoable(points: Points, run: Run) -> frozenset[tuple[str, str | None]]:
    """The steps that have an undo: a saga that failed earlier has another step under the number, as its last words."""
    return frozenset((place.replace(points.key, run.key), points.steps.get(place)) for place in points.undos)


def _ends_of_step(points: Points, place: str, harm: str) -> frozenset[str]:
    """How a saga may end that is harmed at a step; a refusal, and the end of a step's time, may be caught by the saga itself."""
    kind = points.kinds.get(place)
    if harm in (KILL, "double event"):
        return _COMPLETED
    if kind in ("pivot", "retriable"):
        return EITHER if (harm, kind) == ("business refusal", "pivot") else _COMPLETED
    if kind is None or harm == "business refusal" or place in points.limited:
        return EITHER
    return _COMPLETED if harm == "time-out" else _COMPENSATED
