"""The event log in PostgreSQL, over asyncpg: an append is one statement, one round trip, one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from sagakit.errors import ConcurrencyError, DuplicateCommand, StoreUnavailable
from sagakit.messages import Metadata, RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.postgres.reader import GapHoldReader

T = TypeVar("T")
_CHANNEL = "sagakit_events"
_COLUMNS = "position, stream, version, id, type, schema_version, data::text, metadata::text, recorded_at"

_APPEND = """
with command as (
    insert into commands (key, outcome) select $8::text, $9::text where $8::text is not null
)
insert into events (stream, version, id, type, schema_version, data, metadata)
select $1, $2::int + n, id, type, schema_version, data::jsonb, metadata::jsonb
from unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[])
    with ordinality as given (id, type, schema_version, data, metadata, n)
order by n
returning position
"""


class PostgresEventStore:
    """Implements the port `EventStore`."""

    def __init__(self, service: str, url: str) -> None:
        """Name the service and its database; `open` connects."""
        self.service, self._url = service, url
        self._wakes: list[Callable[[], None]] = []
        self._notify = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect, and begin to send and to hear wake-ups."""
        try:
            pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=10,
                command_timeout=30,
                timeout=10,
                server_settings={"application_name": "sagakit"},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise StoreUnavailable(
                f"the PostgreSQL database of service {self.service} cannot be used: {error}. "
                "Start it, or correct SAGAKIT_DATABASE"
            ) from error
        self._pool: asyncpg.Pool[asyncpg.Record] = pool
        self._tasks = [asyncio.create_task(self._send_wakes()), asyncio.create_task(self._hear_wakes())]

    async def close(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    async def append(self, append: Append) -> list[int]:
        """See the port. A lost answer is looked up by the command's key when the caller tries again."""
        events = append.events
        try:
            rows = await self._run(
                lambda: self._pool.fetch(
                    _APPEND,
                    append.stream,
                    append.expected_version,
                    [event.id for event in events],
                    [event.type for event in events],
                    [event.schema_version for event in events],
                    [event.data for event in events],
                    [event.metadata.model_dump_json() for event in events],
                    append.key,
                    append.outcome.model_dump_json() if append.outcome else None,
                )
            )
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "commands_key" and append.key is not None:
                outcome = await self.outcome(append.key)
                if outcome is not None:
                    raise DuplicateCommand(append.key, outcome) from None
            if error.constraint_name in ("events_stream_version", "commands_key"):
                raise ConcurrencyError(append.stream, append.expected_version) from error
            raise
        self._wake()
        self._notify.set()
        return [row["position"] for row in rows]

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        query = f"select {_COLUMNS} from events where stream = $1 and version > $2 order by version"  # noqa: S608 our columns
        rows = await self._run(lambda: self._pool.fetch(query, stream, after_version))
        return [self._recorded(row) for row in rows]

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        text = await self._run(lambda: self._pool.fetchval("select outcome from commands where key = $1", key))
        return CommandOutcome.model_validate_json(text) if text is not None else None

    async def head(self) -> int:
        """See the port."""
        return int(await self._run(lambda: self._pool.fetchval("select coalesce(max(position), 0) from events")))

    def reader(self, after: int) -> GapHoldReader:
        """See the port."""
        return GapHoldReader(
            lambda query, *args: self._run(lambda: self._pool.fetch(query, *args)), self._recorded, _COLUMNS, after
        )

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See the port."""
        self._wakes.append(wake)

    def _wake(self, *_: object) -> None:
        for wake in self._wakes:
            wake()

    async def _send_wakes(self) -> None:
        # Outside the business transaction, and one for many appends: a NOTIFY inside would serialise all commits.
        while True:
            await self._notify.wait()
            self._notify.clear()
            try:
                await self._pool.execute(f"notify {_CHANNEL}")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.5)  # others poll meanwhile
            await asyncio.sleep(0.005)

    async def _hear_wakes(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=10)
                closed = asyncio.Event()
                connection.add_termination_listener(lambda _, closed=closed: closed.set())
                try:
                    await connection.add_listener(_CHANNEL, self._wake)
                    await closed.wait()
                finally:
                    await connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(1)

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Translate the driver's errors of an unreachable server, here and only here."""
        try:
            return await call()
        except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise StoreUnavailable(f"the database of service {self.service} does not answer: {error}") from error
        except (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError) as error:
            raise StoreUnavailable(f"the database of service {self.service} is restarting: {error}") from error
        except asyncpg.TooManyConnectionsError as error:
            raise StoreUnavailable(f"the database of service {self.service} has no connection left: {error}") from error

    def _recorded(self, row: Any) -> RecordedEvent:
        return RecordedEvent(
            service=self.service,
            position=row["position"],
            stream=row["stream"],
            version=row["version"],
            id=row["id"],
            type=row["type"],
            schema_version=row["schema_version"],
            data=row["data"],
            metadata=Metadata.model_validate_json(row["metadata"]),
            recorded_at=row["recorded_at"],
        )
