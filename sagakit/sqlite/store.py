"""The event log in a SQLite file: one writer at a time, so the position order is the commit order.

Appends that arrive while a commit is on its way share the next one; each stands in a savepoint, so that one member's
conflict fails that member alone, and a lone append waits for nobody.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiosqlite

from sagakit.errors import ConcurrencyError, DuplicateCommand, StoreUnavailable
from sagakit.messages import CommandOutcome, Metadata, RecordedEvent
from sagakit.ports import Append

_COLUMNS = "position, stream, version, id, type, schema_version, data, metadata, recorded_at"
_GROUP = 128


class SqliteEventStore:
    """Implements the port `EventStore`. Durable at return: WAL with synchronous FULL."""

    def __init__(self, service: str, path: Path) -> None:
        """Name the service and its file; `open` connects."""
        self.service, self._path = service, path
        self._queue: asyncio.Queue[tuple[Append, asyncio.Future[list[int]]]] = asyncio.Queue()
        self._wakes: list[Callable[[], None]] = []
        self._closing = False

    async def open(self) -> None:
        """Connect and start the writer."""
        try:
            self._write = await self._connect()
            self._read = await self._connect()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}. Choose another folder with SAGAKIT_DATA") from error
        self._writer = asyncio.create_task(self._write_groups(), name=f"sqlite writer {self.service}")

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._path, isolation_level=None, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            await connection.execute(f"PRAGMA {pragma}")
        return connection

    async def close(self) -> None:
        """Finish the appends in hand, then disconnect."""
        await self._queue.join()
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        await self._write.close()
        await self._read.close()

    async def append(self, append: Append) -> list[int]:
        """See the port."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((append, future))
        return await future

    async def _write_groups(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < _GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._commit(group)
            for _ in group:
                self._queue.task_done()

    async def _commit(self, group: list[tuple[Append, asyncio.Future[list[int]]]]) -> None:
        answers: list[list[int] | Exception] = []
        try:
            await self._write.execute("BEGIN IMMEDIATE")
            for append, _ in group:
                answers.append(await self._insert(append))
            await self._write.execute("COMMIT")
        except sqlite3.Error as error:
            if self._write.in_transaction:
                await self._write.execute("ROLLBACK")
            unavailable = StoreUnavailable(f"{self._path}: {error}")
            answers = [unavailable] * len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        for wake in self._wakes:
            wake()

    async def _insert(self, append: Append) -> list[int] | Exception:
        now = datetime.now(UTC).isoformat()
        await self._write.execute("SAVEPOINT member")
        try:
            if append.key is not None and append.outcome is not None:
                known = await self._outcome(self._write, append.key)
                if known is not None:
                    await self._write.execute("RELEASE member")
                    return DuplicateCommand(append.key, known)
                await self._write.execute(
                    "insert into commands (key, outcome, recorded_at) values (?, ?, ?)",
                    (append.key, append.outcome.model_dump_json(), now),
                )
            positions: list[int] = []
            for version, event in enumerate(append.events, append.expected_version + 1):
                cursor = await self._write.execute(
                    "insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)"
                    " values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        append.stream,
                        version,
                        str(event.id),
                        event.type,
                        event.schema_version,
                        event.data,
                        event.metadata.model_dump_json(),
                        now,
                    ),
                )
                positions.append(cursor.lastrowid or 0)
            await self._write.execute("RELEASE member")
        except sqlite3.IntegrityError as error:
            await self._write.execute("ROLLBACK TO member")
            await self._write.execute("RELEASE member")
            if "events.stream" in str(error):
                return ConcurrencyError(append.stream, append.expected_version)
            return error
        return positions

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        query = f"select {_COLUMNS} from events where stream = ? and version > ? order by version"  # noqa: S608 our columns
        rows = await self._read.execute_fetchall(query, (stream, after_version))
        return [self._recorded(row) for row in rows]

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        return await self._outcome(self._read, key)

    async def _outcome(self, connection: aiosqlite.Connection, key: str) -> CommandOutcome | None:
        rows = list(await connection.execute_fetchall("select outcome from commands where key = ?", (key,)))
        return CommandOutcome.model_validate_json(rows[0][0]) if rows else None

    async def head(self) -> int:
        """See the port."""
        rows = list(await self._read.execute_fetchall("select coalesce(max(position), 0) from events"))
        return int(rows[0][0])

    def reader(self, after: int) -> SqliteLogReader:
        """See the port."""
        return SqliteLogReader(self, after)

    async def read_after(self, position: int, limit: int) -> list[RecordedEvent]:
        """Read a page of the log; used by the reader."""
        query = f"select {_COLUMNS} from events where position > ? order by position limit ?"  # noqa: S608 our columns
        return [self._recorded(row) for row in await self._read.execute_fetchall(query, (position, limit))]

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See the port. Only appends of this process wake; others are found by polling."""
        self._wakes.append(wake)

    def _recorded(self, row: sqlite3.Row) -> RecordedEvent:
        position, stream, version, event_id, event_type, schema_version, data, metadata, recorded_at = row
        return RecordedEvent(
            service=self.service,
            position=position,
            stream=stream,
            version=version,
            id=event_id,
            type=event_type,
            schema_version=schema_version,
            data=data,
            metadata=Metadata.model_validate_json(metadata),
            recorded_at=recorded_at,
        )


class SqliteLogReader:
    """Implements the port `LogReader`."""

    def __init__(self, store: SqliteEventStore, after: int) -> None:
        """Begin behind a position."""
        self._store, self._last = store, after

    async def read(self, limit: int) -> list[RecordedEvent]:
        """See the port."""
        events = await self._store.read_after(self._last, limit)
        if events:
            self._last = events[-1].position
        return events
