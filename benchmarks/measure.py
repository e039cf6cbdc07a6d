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
class Sides:
    """The two measures of a row. Each checks after its run that the database holds what it should."""

    ours: Measure
    theirs: Measure


@dataclass(frozen=True)
class Row:
    """What is measured against what. ``must`` and ``aim`` are ratios; None where the number is only shown."""

    name: str
    against: str
    unit: str
    better: Better
    must: float | None
    aim: float | None
    prepare: Callable[[], AbstractAsyncContextManager[Sides]]
    note: str = ""


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
        """Say what the ratio reaches: the aim, the must, neither; or that it is only shown."""
        if self.aim is not None and self.ratio >= self.aim:
            return "aim"
        if self.must is not None:
            return "must" if self.ratio >= self.must else "missed"
        return "shown"


def ratio(ours: float, theirs: float, better: Better) -> float:
    """Say how many times better ours is: above 1 means better, whichever direction is good."""
    return ours / theirs if better == "higher" else theirs / ours


async def run(row: Row, rounds: int, tick: Callable[[], None]) -> Result:
    """Warm each side up once, then measure A B A B ...; ``tick`` is called after each."""
    runs: dict[str, list[float]] = {"ours": [], "theirs": []}
    async with row.prepare() as sides:
        for warm_up in (sides.ours, sides.theirs):
            await warm_up()
            tick()
        foreign = ForeignCpu()
        for _ in range(rounds):
            for side, measure in (("ours", sides.ours), ("theirs", sides.theirs)):
                runs[side].append(await measure())
                tick()
        share = foreign.share()
    ours, theirs = median(runs["ours"]), median(runs["theirs"])
    return Result(
        name=row.name, against=row.against, ours=ours, theirs=theirs, unit=row.unit, ratio=ratio(ours, theirs, row.better),
        better=row.better, must=row.must, aim=row.aim, runs=runs, note=row.note, foreign_cpu=share,
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


@dataclass
class Scale:
    """How much a run does: everything, or a quick look."""

    is_quick: bool = False
    rounds: int = field(init=False)

    def __post_init__(self) -> None:
        """Seven rounds, or three that only show that it works."""
        self.rounds = 3 if self.is_quick else 7

    def of(self, count: int) -> int:
        """Scale a number of acts."""
        return max(count // 5, 1) if self.is_quick else count
