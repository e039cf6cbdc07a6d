"""Our side of delivery: databases, services and settings of a row, opened. The one place that names those settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.bench import Bench, append_of
from benchmarks.databases import Database
from benchmarks.domain import SERVICE, line_added
from sagakit import garbage
from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.sql.subscriptions import checkpoint_of
from sagakit.system import OpenService, System

FILL = """
insert into events (stream, version, id, type, schema_version, data, metadata)
select stream, version, id, type, schema_version, data::json, metadata::json
from unnest($1::text[], $2::int[], $3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[])
    as given (stream, version, id, type, schema_version, data, metadata)
"""
PER_STREAM = 10


@dataclass
class Stage:
    """One system of the benchmark, with the producing service open."""

    bench: Bench
    database: Database
    settings: dict[str, Any]
    make_services: Callable[[], ServiceMap]
    system: System
    producer: OpenService
    filled: int = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, bench: Bench, make_services: Callable[[], ServiceMap], **settings: Any) -> AsyncIterator[Self]:
        """Open the services on databases of their own, in a process that collects its garbage as `start` has it do."""
        garbage.settle()
        database = await bench.postgres.new_database()
        values = {"data": bench.folder, "database": database.template, "bus": bench.bus, **settings}
        async with System(load_settings(**values), make_services()) as system:
            yield cls(bench, database, values, make_services, system, await system.open(SERVICE))

    @property
    def subscription(self) -> Subscription:
        """What the one consumer is owed."""
        (subscription,) = self.system.services.subscriptions()
        return subscription

    @property
    def consumer_database(self) -> Database:
        """The database of the consuming service."""
        return Database(self.database.template.replace("{service}", self.system.services.services[1].name))

    @asynccontextmanager
    async def running(self, *roles: str) -> AsyncIterator[Runtime]:
        """Run roles of this system in this process."""
        nobody: Any = None  # no saga is here, so Temporal is never asked
        runtime = Runtime(self.system, nobody, (), roles)
        await runtime.start()
        try:
            yield runtime
        finally:
            await runtime.drain()

    async def fill(self, count: int) -> float:
        """Commit so many events, all but one of them at once; return when that began, on `time.perf_counter`."""
        names = self.bench.names(-(-count // PER_STREAM))
        places = [(f"basket-{names[n // PER_STREAM]}", n % PER_STREAM + 1) for n in range(count - 1)]
        new = [line_added() for _ in places]
        columns = (
            [stream for stream, _ in places], [version for _, version in places], [event.id for event in new],
            [event.type for event in new], [event.schema_version for event in new], [event.data for event in new],
            [event.metadata.model_dump_json() for event in new],
        )  # fmt: skip
        async with self.database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(FILL, *columns)
            began = time.perf_counter()
            await transaction.commit()
        (last,) = self.bench.names(1)
        await self.producer.store.append(append_of(last, line_added()))  # wakes whoever follows the log
        self.filled += count
        return began

    async def events(self, last: int) -> Sequence[RecordedEvent]:
        """Read the last so many events of the log."""
        head = await self.producer.store.head()
        reader = self.producer.store.reader(max(head - last, 0))
        found: list[RecordedEvent] = []
        while page := await reader.read(1000):
            found += page
        return found[-last:]

    async def delivered(self, subscription: Subscription | None = None) -> float:
        """Wait until a cursor stands at the head of the log; return when that was."""
        name, head = checkpoint_of((subscription or self.subscription).consumer), await self.producer.store.head()
        async with self.database.connection() as connection, asyncio.timeout(300):
            while (await connection.fetchval("select position from sagakit_checkpoints where name = $1", name) or 0) < head:  # noqa: ASYNC110 the same
                await asyncio.sleep(0.01)
            return time.perf_counter()

    async def affected(self, total: int) -> float:
        """Wait until so many effects are committed; return when. Raises `AssertionError` for one too many or out of order."""
        async with self.consumer_database.connection() as connection, asyncio.timeout(300):
            # Counting reads the whole table, so that waits until it may come out: it would take its share of what is measured.
            while (await connection.fetchval("select max(number) from bench_effects") or 0) < total:  # noqa: ASYNC110 as below
                await asyncio.sleep(0.01)
            while (found := await connection.fetchval("select count(*) from bench_effects")) < total:  # noqa: ASYNC110 another may write it
                await asyncio.sleep(0.01)
            ended = time.perf_counter()
            wrong = await connection.fetchval(
                "select count(*) from (select version - row_number() over (partition by stream order by number) as off "
                "from bench_effects) as placed where off <> 0"
            )
        if found != total or wrong:
            raise AssertionError(f"{found} effects instead of {total}, {wrong} out of order; the measurement counts for nothing")
        return ended
