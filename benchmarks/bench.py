"""What every row is given: the server, a folder, and how much to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import asyncpg

from benchmarks.databases import Database, Postgres
from benchmarks.measure import Scale
from sagakit.messages import NewEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append

APPEND_RAW = """
with command as (insert into commands (key, outcome) values ($8, $9))
insert into events (stream, version, id, type, schema_version, data, metadata)
values ($1, $2, $3, $4, $5, $6::text::json, $7::text::json) returning position
"""
"""The floor: the least that stores one event and the outcome of its command, in one statement."""


@dataclass
class Bench:
    """One run of a section; ``bus`` is the URL of RabbitMQ, for a section that needs it.

    ``closing`` ends what several rows share.
    """

    postgres: Postgres
    folder: Path
    scale: Scale
    bus: str = ""
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)
    _numbers: list[int] = field(default_factory=lambda: [0])

    def names(self, count: int) -> list[str]:
        """Make so many ids that no row has used."""
        first = self._numbers[0]
        self._numbers[0] += count
        return [f"b{number}" for number in range(first, first + count)]


@dataclass
class Connections:
    """Bare connections, one for each act in flight: no pool, no reset in between, nothing but the statement."""

    _free: list[asyncpg.Connection[asyncpg.Record]]

    @classmethod
    @asynccontextmanager
    async def to(cls, database: Database, number: int) -> AsyncIterator[Self]:
        """Open so many."""
        async with AsyncExitStack() as stack:
            yield cls([await stack.enter_async_context(database.connection()) for _ in range(number)])

    async def value(self, statement: str, *arguments: object) -> Any:
        """Run a prepared statement and return the first value of the first row."""
        connection = self._free.pop()
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            self._free.append(connection)


def append_of(name: str, event: NewEvent, *, is_keyed: bool = True) -> Append:
    """Make the append of one event to a new stream, with the idempotency key and outcome that a command has."""
    stream = f"basket-{name}"
    if not is_keyed:
        return Append(stream, 0, (event,))
    outcome = CommandOutcome(status="done", stream=stream, version=1, events=(event.type,))
    return Append(stream, 0, (event,), f"key-{name}", outcome)


def raw_arguments(name: str, event: NewEvent) -> tuple[object, ...]:
    """Give `APPEND_RAW` its values, serialised already."""
    append = append_of(name, event)
    outcome = append.outcome.model_dump_json() if append.outcome else None
    metadata = event.metadata.model_dump_json()
    return (append.stream, 1, event.id, event.type, event.schema_version, event.data, metadata, append.key, outcome)


async def cancelled(task: asyncio.Task[None]) -> None:
    """End a task of ours."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
