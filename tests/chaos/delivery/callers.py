"""Callers that go on whatever is killed: each command is sent until it has its answer, by the same key."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median, quantiles

from sagakit.errors import InfrastructureError
from sagakit.repository import Context
from sagakit.system import System
from tests.chaos.delivery.domain import Fill

LANES = 20


@dataclass
class Callers:
    """One caller a mill, so many commands a second in all."""

    system: System
    per_second: float
    acknowledged: set[str] = field(default_factory=set)
    answers: list[tuple[float, float]] = field(default_factory=list)
    _number: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _is_pausing: bool = False

    def resume(self) -> None:
        self._is_pausing = False
        self._tasks = [asyncio.create_task(self._call(f"m{lane}")) for lane in range(LANES)]

    async def pause(self) -> None:
        """Stop after the commands in hand have their answers."""
        self._is_pausing = True
        await asyncio.gather(*self._tasks)
        self._tasks = []

    async def _call(self, mill: str) -> None:
        pause = LANES / self.per_second
        due = time.monotonic()
        while not self._is_pausing:
            self._number += 1
            command, key = Fill(mill=mill, number=self._number), f"fill-{self._number}"
            began = time.perf_counter()
            while True:
                try:
                    await self.system.send(command, Context(key=key))
                    break
                except InfrastructureError:
                    await asyncio.sleep(0.1)
            ended = time.perf_counter()
            self.answers.append((ended, ended - began))
            self.acknowledged.add(key)
            due = max(due + pause, time.monotonic() - pause)
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def watch(self, seconds: float) -> tuple[float, float, float]:
        """Measure for a while: answers per second, the median and the 99th percentile of an answer in milliseconds."""
        self.answers.clear()
        await asyncio.sleep(seconds)
        return summed_up(self.answers, seconds)


def summed_up(answers: list[tuple[float, float]], seconds: float) -> tuple[float, float, float]:
    taken = [latency * 1000 for _, latency in answers]
    if len(taken) < 2:  # nothing came back
        return len(taken) / seconds, seconds * 1000, seconds * 1000
    return len(taken) / seconds, median(taken), quantiles(taken, n=100)[98]
