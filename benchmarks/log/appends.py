"""Rows about writing one event: against the peer, against itself without order and wake-up, against an UPDATE, on SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any
from unittest.mock import patch

from benchmarks.bench import Bench, Connections, append_of, cancelled
from benchmarks.databases import Database
from benchmarks.domain import line_added
from benchmarks.measure import Measure, Sides, rate
from benchmarks.ours import opened
from benchmarks.peer import Peer
from sagakit.ports import EventStore
from sagakit.postgres.store import PostgresEventStore


def appending(
    bench: Bench, store: EventStore, count: int, in_flight: int, check: Callable[[int], Awaitable[None]], *, is_keyed: bool = True
) -> Measure:
    """Measure appends per second of one event each to new streams, made beforehand; check after each run."""
    total = 0

    async def measure() -> float:
        nonlocal total
        appends = [append_of(name, line_added(), is_keyed=is_keyed) for name in bench.names(count)]
        found = await rate(appends, in_flight, store.append)
        total += count
        await check(total)
        return found

    return measure


def peer_appending(peer: Peer, count: int, threads: int, check: Callable[[int], Awaitable[None]]) -> Measure:
    """Measure the same of the peer."""
    total = 0

    async def measure() -> float:
        nonlocal total
        answer = await peer.ask("append", count=count, threads=threads)
        total += count
        await check(total)
        return float(count / answer["seconds"])

    return measure


def _with_outcomes(database: Database) -> Callable[[int], Awaitable[None]]:
    async def check(total: int) -> None:
        await database.holds(total, total)

    return check


@asynccontextmanager
async def against_peer(
    bench: Bench, in_flight: int, threads: int, ours: int, theirs: int, *, group_commit: bool = False, is_slow: bool = False
) -> AsyncIterator[Sides]:
    """Append with so many in flight, against the peer with so many threads; each side makes as many as it needs to be timed."""
    async with AsyncExitStack() as stack:
        database, peers = await bench.postgres.new_database(), await bench.postgres.new_database()
        opening = opened(database.template, bench.folder, group_commit=group_commit)
        service = await stack.enter_async_context(opening)
        peer = await stack.enter_async_context(Peer.on_postgres(peers, threads))
        if is_slow:
            await stack.enter_async_context(bench.postgres.slow_disk())
        yield Sides(
            appending(bench, service.store, bench.scale.of(ours), in_flight, _with_outcomes(database)),
            peer_appending(peer, bench.scale.of(theirs), threads, peers.peer_holds),
        )


async def _send_nothing(_: PostgresEventStore) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def order_and_wake_up(bench: Bench, in_flight: int, count: int) -> AsyncIterator[Sides]:
    """Append on the slow disk while a woken reader follows in proven order, against a log that nobody can follow."""
    async with AsyncExitStack() as stack:
        database, bare = await bench.postgres.new_database(), await bench.postgres.new_database()
        ordered = (await stack.enter_async_context(opened(database.template, bench.folder, group_commit=True))).store
        with patch.object(PostgresEventStore, "_send_wakes", _send_nothing):
            opening = opened(bare.template, bench.folder, group_commit=True)
            unordered = (await stack.enter_async_context(opening)).store
        async with bare.connection() as connection:
            # Without it the log has no order that a reader could prove.
            await connection.execute("alter table events drop column xid")
        seen: list[int] = []
        follower = asyncio.create_task(_follow(ordered, seen))
        stack.push_async_callback(cancelled, follower)
        await stack.enter_async_context(bench.postgres.slow_disk())

        async def all_seen(total: int) -> None:
            await database.holds(total, total)
            async with asyncio.timeout(10):
                while len(seen) < total:  # noqa: ASYNC110 outside the measured time
                    await asyncio.sleep(0.01)
            if seen != sorted(set(seen)):
                raise AssertionError("the reader saw an event twice or out of order")

        yield Sides(
            appending(bench, ordered, bench.scale.of(count), in_flight, all_seen),
            appending(bench, unordered, bench.scale.of(count), in_flight, _with_outcomes(bare)),
        )


async def _follow(store: EventStore, seen: list[int]) -> None:
    woken = asyncio.Event()
    store.on_commit(woken.set)
    reader = store.reader(0)
    while True:
        while events := await reader.read(200):
            seen.extend(event.position for event in events)
        woken.clear()
        try:
            await asyncio.wait_for(woken.wait(), 0.25)
        except TimeoutError:
            continue


@asynccontextmanager
async def hash_chain(bench: Bench, in_flight: int, count: int) -> AsyncIterator[Sides]:
    """Append with the hash chain of every stream, against without."""
    async with AsyncExitStack() as stack:
        sides: list[Measure] = []
        for is_chained in (True, False):
            database = await bench.postgres.new_database()
            service = await stack.enter_async_context(opened(database.template, bench.folder, hash_chain=is_chained))
            sides.append(appending(bench, service.store, bench.scale.of(count), in_flight, _with_outcomes(database)))
        yield Sides(*sides)


@asynccontextmanager
async def against_update(bench: Bench, connections: int, count: int) -> AsyncIterator[Sides]:
    """Append one event without a key, against the UPDATE of one row of 1,000 in place that checks its version."""
    async with AsyncExitStack() as stack:
        database, plain = await bench.postgres.new_database(), await bench.postgres.new_database()
        service = await stack.enter_async_context(opened(database.template, bench.folder))
        pool = await stack.enter_async_context(Connections.to(plain, connections))
        await pool.value("create table baskets (id text primary key, version integer not null, state jsonb not null)")
        names, total = bench.names(1000), 0
        await pool.value("insert into baskets select unnest($1::text[]), 0, '{}'", names)
        data = line_added().data

        async def update(place: tuple[str, int]) -> None:
            query = "update baskets set version = version + 1, state = $3::text::jsonb where id = $1 and version = $2 returning 1"
            if await pool.value(query, *place, data) is None:
                raise AssertionError(f"basket {place[0]} is not at version {place[1]}")

        async def updating() -> float:
            nonlocal total
            number = bench.scale.of(count)
            places = [(names[n % len(names)], n // len(names)) for n in range(total, total + number)]
            found = await rate(places, connections, update)
            total += number
            if (versions := await pool.value("select sum(version) from baskets")) != total:
                raise AssertionError(f"{versions} updates instead of {total}")
            return found

        ours = appending(bench, service.store, bench.scale.of(count), connections, database.holds, is_keyed=False)
        yield Sides(ours, updating)


@asynccontextmanager
async def sqlite(bench: Bench, in_flight: int, threads: int, ours: int, theirs: int) -> AsyncIterator[Sides]:
    """Append to a SQLite file, both in WAL with synchronous FULL."""
    async with AsyncExitStack() as stack:
        folder, peers = bench.folder / "sqlite", bench.folder / "peer.db"
        service = await stack.enter_async_context(opened("sqlite", folder, group_commit=True))
        peer = await stack.enter_async_context(Peer.on_sqlite(peers, threads))

        def counted(path: Any, query: str) -> Callable[[int], Awaitable[None]]:
            async def check(total: int) -> None:
                with closing(sqlite3.connect(path)) as connection:
                    if (found := connection.execute(query).fetchone()) != (total, 1):
                        raise AssertionError(f"{path.name} holds {found} instead of {total} events at version 1")

            return check

        yield Sides(
            appending(
                bench, service.store, bench.scale.of(ours), in_flight,
                counted(folder / "bench.db", "select count(*), max(version) from events"),
            ),
            peer_appending(
                peer, bench.scale.of(theirs), threads,
                counted(peers, "select count(*), max(originator_version) from stored_events"),
            ),
        )  # fmt: skip
