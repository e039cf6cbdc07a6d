"""Rows about reading: one aggregate, a very long one with and without snapshots, and the whole log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.databases import Database
from benchmarks.domain import SERVICES, SNAPPED, AddLine, Basket, SnappedBasket, line_added
from benchmarks.measure import Measure, Sides, milliseconds
from benchmarks.ours import opened
from benchmarks.peer import Peer
from sagakit.ports import Append
from sagakit.repository import Context, Repository

_SEED = """
insert into events (stream, version, id, type, schema_version, data, metadata)
select $1, n, gen_random_uuid(), $2, $3, $4::text::json, $5::text::json from generate_series(1, $6::int) as n order by n
"""
_OLD_DATA = '{"sku":"WHITE-HANGING-HEART","quantity":6,"price_cents":255}'
_CENTS = 6 * 255


async def _seed(database: Database, stream: str, events: int) -> None:
    event = line_added()
    async with database.connection() as connection:
        metadata = event.metadata.model_dump_json()
        await connection.execute(_SEED, stream, event.type, event.schema_version, event.data, metadata, events, timeout=300)
        await connection.execute("vacuum analyze events", timeout=300)


@asynccontextmanager
async def against_peer(bench: Bench, events: int, times: int) -> AsyncIterator[Sides]:
    """Load and fold one aggregate, against the peer's repository without cache and snapshots."""
    async with AsyncExitStack() as stack:
        database, peers = await bench.postgres.new_database(), await bench.postgres.new_database()
        service = await stack.enter_async_context(opened(database.template, bench.folder))
        peer = await stack.enter_async_context(Peer.on_postgres(peers))
        (name,) = bench.names(1)
        await _seed(database, Basket.stream_of(name), events)
        seeded = await peer.ask("seed", events=events, old_every=0)

        async def theirs() -> float:
            answer = await peer.ask("load", id=seeded["id"], times=bench.scale.of(times))
            if (answer["version"], answer["lines"]) != (events, events - 1):
                raise AssertionError(f"the peer loaded {answer}")
            await peers.peer_holds(events)
            return float(answer["seconds"]) * 1000 / bench.scale.of(times)

        yield Sides(_loading(service.repository, Basket, name, events, bench.scale.of(times)), theirs)


def _loading(repository: Repository, basket: type, name: str, events: int, times: int) -> Measure:
    async def load() -> None:
        found = await repository.load(basket, name)
        state = found.model_dump(include={"version", "lines", "total_cents"})
        if state != {"version": events, "lines": events, "total_cents": events * _CENTS}:
            raise AssertionError(f"loaded {state} instead of {events} lines")

    async def measure() -> float:
        return await milliseconds(times, load)

    return measure


@asynccontextmanager
async def curve(bench: Bench, events: int, times: int, *, is_snapped: bool) -> AsyncIterator[Sides]:
    """Load an aggregate of so many events, against one of 100 in the same way."""
    services, basket = (SNAPPED, SnappedBasket) if is_snapped else (SERVICES, Basket)
    async with AsyncExitStack() as stack:
        sides: list[Measure] = []
        for length, repeats in ((events, times), (100, 50)):
            database, (name,) = await bench.postgres.new_database(), bench.names(1)
            async with opened(database.template, bench.folder, services=services) as service:
                await _seed(database, basket.stream_of(name), length)
                # A command lets the snapshot be taken, and closing waits for it; the second follows the snapshot.
                await service.repository.handle(basket, AddLine(basket=name), Context("benchmark"))
            service = await stack.enter_async_context(opened(database.template, bench.folder, services=services))
            await service.repository.handle(basket, AddLine(basket=name), Context("benchmark"))
            await database.holds(length + 2)
            sides.append(_loading(service.repository, basket, name, length + 2, bench.scale.of(repeats)))
        yield Sides(*sides)


@asynccontextmanager
async def read_all(bench: Bench, streams: int, old_every: int, page: int) -> AsyncIterator[Sides]:
    """Read a log of streams of 100 events and decode all of it; one in ``old_every`` is upcast on either side."""
    async with AsyncExitStack() as stack:
        database, peers = await bench.postgres.new_database(), await bench.postgres.new_database()
        service = await stack.enter_async_context(opened(database.template, bench.folder))
        peer = await stack.enter_async_context(Peer.on_postgres(peers))
        wanted = bench.scale.of(streams) * 100
        for name in bench.names(bench.scale.of(streams)):
            made = [line_added() for _ in range(100)]
            events = tuple(
                replace(event, schema_version=1, data=_OLD_DATA) if n % old_every == 1 else event for n, event in enumerate(made)
            )
            await service.store.append(Append(Basket.stream_of(name), 0, events))
            await peer.ask("seed", events=100, old_every=old_every)
        await database.holds(wanted)
        await peers.peer_holds(wanted)

        async def ours() -> float:
            start, read, reader = time.perf_counter(), 0, service.store.reader(0)
            while recorded := await reader.read(page):
                for one in recorded:
                    read += len(service.repository.registry.decode_all(one))
            found = read / (time.perf_counter() - start)
            if read != wanted:
                raise AssertionError(f"read {read} events instead of {wanted}")
            return found

        async def theirs() -> float:
            answer = await peer.ask("read_all", page=page)
            if answer["read"] != wanted:
                raise AssertionError(f"the peer read {answer['read']} events instead of {wanted}")
            return float(wanted / answer["seconds"])

        yield Sides(ours, theirs)
