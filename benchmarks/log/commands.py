"""Rows about a whole command: from the repository's door to the committed event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.bench import APPEND_RAW, Bench, Connections, raw_arguments
from benchmarks.databases import Database
from benchmarks.domain import AddLine, Basket, line_added
from benchmarks.measure import Measure, Sides, rate
from benchmarks.ours import opened
from sagakit.ports import Append
from sagakit.repository import Context
from sagakit.system import OpenService


@asynccontextmanager
async def against_floor(bench: Bench, in_flight: int, count: int, per_aggregate: int) -> AsyncIterator[Sides]:
    """Handle commands, each with a key, against one raw statement with the same rows.

    Each aggregate gets ``per_aggregate`` of them in turn: the first one loads it, the others find it in memory.
    """
    async with AsyncExitStack() as stack:
        database, bare = await bench.postgres.new_database(), await bench.postgres.new_database()
        service = await stack.enter_async_context(opened(database.template, bench.folder, image_aggregates=10_000))
        async with opened(bare.template, bench.folder):
            pass  # the same tables and indexes
        connections = await stack.enter_async_context(Connections.to(bare, in_flight))
        totals = {"ours": 0, "theirs": 0}
        number = bench.scale.of(count)

        async def handling() -> float:
            baskets = bench.names(number // per_aggregate)
            commands = [
                (AddLine(basket=name), Context("benchmark", key=f"key-{name}-{turn}"))
                for turn in range(per_aggregate)
                for name in baskets
            ]
            found = await rate(commands, in_flight, lambda one: service.repository.handle(Basket, *one))
            totals["ours"] += number
            await database.holds(totals["ours"], totals["ours"])
            return found

        async def inserting() -> float:
            rows = [raw_arguments(name, line_added()) for name in bench.names(number)]
            found = await rate(rows, in_flight, lambda row: connections.value(APPEND_RAW, *row))
            totals["theirs"] += number
            await bare.holds(totals["theirs"], totals["theirs"])
            return found

        yield Sides(handling, inserting)


@asynccontextmanager
async def hot_aggregate(bench: Bench, length: int, count: int) -> AsyncIterator[Sides]:
    """Handle commands of one long aggregate from the memory image, against folding it from its events each time."""
    async with AsyncExitStack() as stack:
        sides: list[Measure] = []
        for images in (100, 0):
            database = await bench.postgres.new_database()
            service = await stack.enter_async_context(opened(database.template, bench.folder, image_aggregates=images))
            (name,) = bench.names(1)
            await service.store.append(Append(Basket.stream_of(name), 0, tuple(line_added() for _ in range(length))))
            sides.append(_handling_one(bench, service, database, name, length, count))
        yield Sides(*sides)


def _handling_one(bench: Bench, service: OpenService, database: Database, name: str, length: int, count: int) -> Measure:
    total = 0

    async def measure() -> float:
        nonlocal total
        number = bench.scale.of(count)
        commands = [(AddLine(basket=name), Context("benchmark", key=key)) for key in bench.names(number)]
        found = await rate(commands, 1, lambda one: service.repository.handle(Basket, *one))
        total += number
        await database.holds(length + total, total)
        return found

    return measure
