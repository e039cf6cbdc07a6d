"""`python -m benchmarks.sagas.process`: one side in a process of its own; a JSON line in is a job, one out its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import structlog

from benchmarks.sagas.bare_side import Bare
from benchmarks.sagas.our_sides import Ours, Whole
from benchmarks.sagas.sandboxes import milliseconds_of_a_sandbox
from benchmarks.sagas.sides import STEPS, Side

_IDLE_SECONDS = 0.1
"""What a worker with nothing to do uses of the processor in a second, at most."""


async def main() -> None:
    """Answer jobs until the parent closes the pipe."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack:
        side: Side | None = None
        while line := await reader.readline():
            job: dict[str, Any] = json.loads(line)
            do = job.pop("do")
            if do == "open":
                side = await stack.enter_async_context(_side(**job))
                answer: dict[str, Any] = {}
            elif do == "sandbox":
                answer = milliseconds_of_a_sandbox(**job)
            elif side is None:
                raise AssertionError(f"{do!r} before a side was opened")
            else:
                answer = await {"book": _book, "wait": _wait}[do](side, **job)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _side(side: str, address: str, folder: str, database: str = "", bus: str = "") -> Any:
    data = Path(folder) / f"{side}-{os.getpid()}"
    if side == "bare":
        return Bare.running(address)
    if database:
        return Whole.running(address, data, database, bus, fast=side == "fast")
    return Ours.running(address, data, fast=side == "fast")


async def _book(side: Side, trips: list[str], in_flight: int) -> dict[str, Any]:
    """Book trips, so many at once. What the services hold is counted before and after."""
    before, cpu, began = await side.bookings(), _cpu_seconds(), time.perf_counter()
    waiting = iter(trips)

    async def work() -> None:
        for trip in waiting:
            await side.book(trip)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    if (found := await side.bookings() - before) != STEPS * len(trips):
        raise AssertionError(f"{found} bookings for {len(trips)} trips; the measurement counts for nothing")
    answer: dict[str, Any] = {"seconds": seconds, "cpu": cpu}
    if isinstance(side, Whole):
        side.legs.clear()
        await side.look()
        answer |= {"legs": side.legs} if in_flight == 1 else {}
    return answer


async def _wait(side: Side, trips: list[str], in_flight: int) -> dict[str, Any]:
    """Open trips that stay open; say how much memory that took."""
    process = psutil.Process()
    before = process.memory_info().rss
    waiting = iter(trips)

    async def work() -> None:
        for trip in waiting:
            await side.open(trip)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    used = 0.0
    while (now := _cpu_seconds()) - used > _IDLE_SECONDS:  # until the first task of each is done, and none is left to be evicted
        used = now
        await asyncio.sleep(1)
    return {"bytes": process.memory_info().rss - before}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # a thread of Temporal's client may still be about to call Python, and would end this with SIGABRT
