"""A row of the table: two sides measured in turn, the median of each, and how much better ours is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeVar

from benchmarks.machine import ForeignCpu

T = TypeVar("T")
Better = Literal["higher", "lower"]
Measure = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Scale:
    """How much a run does: everything, or a quick look."""

    is_quick: bool = False

    def of(self, count: int) -> int:
        """Scale a number of acts."""
        return max(count // 5, 1) if self.is_quick else count


@dataclass(frozen=True)
class Sides:
    """The two measures of a row. Each checks after its run that the database holds what it should."""

    ours: Measure
    theirs: Measure
    note: Callable[[], str] = field(default=str, kw_only=True)
    """What else was found, once all is measured."""


class NotMeasured(Exception):
    """What a row needs is not to be had on this machine; the text says what."""


@dataclass(frozen=True)
class Row:
    """What is measured against what. ``must`` and ``aim`` are ratios; None where the number is only shown.

    ``rounds`` are fewer for what takes minutes, and adds up (with 1 there is no warm-up), and more where two runs of one side
    differ by more than the sides do.
    """

    name: str
    against: str
    unit: str
    better: Better
    must: float | None
    aim: float | None
    prepare: Callable[[], AbstractAsyncContextManager[Sides]]
    note: str = ""
    rounds: int = 7

    def rounds_at(self, scale: Scale) -> int:
        """Say how often each side is measured; a quick look only shows that it works."""
        return min(self.rounds, 3) if scale.is_quick else self.rounds

    def measurements(self, scale: Scale) -> int:
        """Count the measurements of both sides, with those that warm them up."""
        rounds = self.rounds_at(scale)
        return 2 * (rounds + (rounds > 1))


@dataclass(frozen=True)
class Result:
    """One line of the table. ``runs`` holds every measurement of both sides, in order."""

    name: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    better: Better
    must: float | None
    aim: float | None
    runs: dict[str, list[float]]
    note: str = ""
    foreign_cpu: float = 0.0

    @property
    def verdict(self) -> str:
        """Say what the ratio reaches: the aim, the must, neither; or that it is only shown, or could not be measured."""
        if not self.runs["ours"]:
            return "not measured"
        if self.aim is not None and self.ratio >= self.aim:
            return "aim"
        if self.must is not None:
            return "must" if self.ratio >= self.must else "missed"
        return "shown"


def ratio(ours: float, theirs: float, better: Better) -> float:
    """Say how many times better ours is: above 1 means better, whichever direction is good."""
    return ours / theirs if better == "higher" else theirs / ours


async def run(row: Row, scale: Scale, tick: Callable[[], None]) -> Result:
    """Warm each side up once, then measure A B A B ...; ``tick`` is called after each. Raises `NotMeasured`."""
    runs: dict[str, list[float]] = {"ours": [], "theirs": []}
    async with row.prepare() as sides:
        rounds = row.rounds_at(scale)
        for warm_up in (sides.ours, sides.theirs) if rounds > 1 else ():
            await warm_up()
            tick()
        foreign = ForeignCpu()
        for _ in range(rounds):
            for side, measure in (("ours", sides.ours), ("theirs", sides.theirs)):
                runs[side].append(await measure())
                tick()
        share = foreign.share()
        note = "; ".join(filter(None, (row.note, sides.note())))
    ours, theirs = median(runs["ours"]), median(runs["theirs"])
    return Result(
        name=row.name, against=row.against, ours=ours, theirs=theirs, unit=row.unit, ratio=ratio(ours, theirs, row.better),
        better=row.better, must=row.must, aim=row.aim, runs=runs, note=note, foreign_cpu=share,
    )  # fmt: skip


def not_measured(row: Row, why: NotMeasured) -> Result:
    """Make the line of a row that could not be measured."""
    return Result(
        name=row.name, against=row.against, ours=0.0, theirs=0.0, unit=row.unit, ratio=0.0, better=row.better, must=row.must,
        aim=row.aim, runs={"ours": [], "theirs": []}, note=f"not measured: {why}",
    )  # fmt: skip


async def rate(items: Sequence[T], in_flight: int, act: Callable[[T], Awaitable[Any]]) -> float:
    """Act on every item, so many at once; return acts per second."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await act(item)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return len(items) / (time.perf_counter() - start)


async def milliseconds(times: int, act: Callable[[], Awaitable[Any]]) -> float:
    """Act several times in turn; return the milliseconds of one."""
    start = time.perf_counter()
    for _ in range(times):
        await act()
    return (time.perf_counter() - start) * 1000 / times
