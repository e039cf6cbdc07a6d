"""What the rows of this section share: the Temporal servers of a run, and a process for each side."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure import Measure, NotMeasured
from benchmarks.peer import Peer
from benchmarks.sagas import production_server
from sagakit.temporal import dev_server


@dataclass
class Servers:
    """Temporal servers, each started when a row first asks for it. Both sides of a row are on the same one."""

    bench: Bench
    _addresses: dict[str, str] = field(default_factory=dict)
    _missing: NotMeasured | None = None

    async def address(self, kind: str) -> str:
        """Say where the ``dev`` or the ``production`` server answers. Raises `NotMeasured` when it cannot be had."""
        if kind not in self._addresses:
            self._addresses[kind] = await (self._dev() if kind == "dev" else self._production())
        return self._addresses[kind]

    async def _dev(self) -> str:
        binary = await dev_server.find_binary(None, print)
        server = await dev_server.start(binary, self.bench.folder / "temporal", 0, 0)
        self.bench.closing.callback(server.stop)
        return server.address

    async def _production(self) -> str:
        if self._missing is not None:
            raise self._missing
        try:
            running = production_server.running(self.bench.postgres.url, self.bench.folder)
            return await self.bench.closing.enter_async_context(running)
        except production_server.NoServer as error:
            self._missing = NotMeasured(f"no production server of Temporal: {error}")
            raise self._missing from error


@dataclass
class Runner:
    """A side in a process of its own."""

    bench: Bench
    peer: Peer
    legs: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def ours(cls, bench: Bench, side: str, address: str, **job: Any) -> AsyncIterator[Runner]:
        """Start ``bare``, ``ours`` or ``fast`` on a Temporal server."""
        words = ("-m", "benchmarks.sagas.process")
        async with Peer.begun(sys.executable, words, side=side, address=address, folder=str(bench.folder), **job) as peer:
            yield cls(bench, peer)

    @classmethod
    @asynccontextmanager
    async def dbos(cls, bench: Bench) -> AsyncIterator[Runner]:
        """Start DBOS on a database of its own."""
        database = await bench.postgres.new_database()
        async with Peer.started("dbos_peer.py", url=database.url) as peer:
            yield cls(bench, peer)

    def rate(self, count: int) -> Measure:
        """Measure trips a second, 32 in flight."""
        return self._booking(count, 32, lambda answer, booked: booked / answer["seconds"])

    def latency(self, count: int) -> Measure:
        """Measure the milliseconds of one trip, one at a time."""
        return self._booking(count, 1, lambda answer, booked: answer["seconds"] * 1000 / booked)

    def processor(self, count: int) -> Measure:
        """Measure the processor milliseconds that a trip takes of this process, 32 in flight."""
        return self._booking(count, 32, lambda answer, booked: answer["cpu"] * 1000 / booked)

    def _booking(self, count: int, in_flight: int, found: Callable[[dict[str, Any], int], float]) -> Measure:
        async def measure() -> float:
            trips = self.bench.names(self.bench.scale.of(count))
            answer = await self.peer.ask("book", trips=trips, in_flight=in_flight)
            self.legs += answer.get("legs", [])
            return found(answer, len(trips))

        return measure

    def memory(self, count: int) -> Measure:
        """Measure the KiB that an open trip takes of this process, at so many open."""

        async def measure() -> float:
            trips = self.bench.names(self.bench.scale.of(count))
            answer = await self.peer.ask("wait", trips=trips, in_flight=64)
            return float(answer["bytes"] / 1024 / len(trips))

        return measure

    def sandbox(self, side: str, count: int) -> Measure:
        """Measure the processor milliseconds that a sandbox takes."""

        async def measure() -> float:
            return float((await self.peer.ask("sandbox", side=side, count=count))["ms"])

        return measure

    def told_legs(self) -> str:
        """Say where the time of a whole trip goes: medians of all that were measured one at a time."""
        if not self.legs:
            return ""
        names = self.legs[0]
        return "of which " + ", ".join(f"{name} {median(legs[name] for legs in self.legs):.1f} ms" for name in names)
