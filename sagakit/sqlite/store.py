"""The event log in a SQLite file: one writer at a time, so the position order is the commit order.

Appends that arrive while a commit is on its way share the next one; each stands in a savepoint, so that one member's
conflict fails that member alone, and a lone append waits for nobody.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sagakit.errors import ConcurrencyError, DuplicateCommand, StoreUnavailable
from sagakit.messages import Metadata, NewEvent, RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append

_COLUMNS = "position, stream, version, id, type, schema_version, data, metadata, recorded_at"
_GROUP = 128


class SqliteEventStore:
    """Implements the port `EventStore`. Durable at return: WAL with synchronous FULL.

    The writing and the reading connection have a thread each. A whole group is one call into the writing thread: crossing
    over per statement would cost more than the statements.
    """

    def __init__(self, service: str, path: Path) -> None:
        """Name the service and its file; `open` connects."""
        self.service, self._path = service, path
        self._queue: asyncio.Queue[tuple[Append, asyncio.Future[list[int]]]] = asyncio.Queue()
        self._wakes: list[Callable[[], None]] = []
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-write-{service}")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-read-{service}")

    async def open(self) -> None:
        """Connect and start the writer."""
        loop = asyncio.get_running_loop()
        try:
            self._write = await loop.run_in_executor(self._write_thread, self._connect)
            self._read = await loop.run_in_executor(self._read_thread, self._connect)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}. Choose another folder with SAGAKIT_DATA") from error
        self._writer = asyncio.create_task(self._write_groups(), name=f"sqlite writer {self.service}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    async def close(self) -> None:
        """Finish the appends in hand, then disconnect."""
        loop = asyncio.get_running_loop()
        await self._queue.join()
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        for thread, connection in ((self._write_thread, self._write), (self._read_thread, self._read)):
            await loop.run_in_executor(thread, connection.close)
            thread.shutdown()

    async def append(self, append: Append) -> list[int]:
        """See the port."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((append, future))
        return await future

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._queue.get()]
            while len(group) < _GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            answers = await loop.run_in_executor(self._write_thread, self._commit, [append for append, _ in group])
            for (_, future), answer in zip(group, answers, strict=True):
                if future.done():
                    pass  # its caller went away; the append stands
                elif isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
                self._queue.task_done()
            for wake in self._wakes:
                wake()

    def _commit(self, group: list[Append]) -> list[list[int] | Exception]:
        """Commit a group in one transaction; runs in the writing thread."""
        try:
            self._write.execute("BEGIN IMMEDIATE")
            answers = [self._insert(append) for append in group]
            self._write.execute("COMMIT")
        except sqlite3.Error as error:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
            unavailable = StoreUnavailable(f"{self._path}: {error}")
            unavailable.__cause__ = error
            return [unavailable for _ in group]
        return answers

    def _insert(self, append: Append) -> list[int] | Exception:
        now = datetime.now(UTC).isoformat()
        self._write.execute("SAVEPOINT member")
        try:
            if append.key is not None and append.outcome is not None:
                known = _outcome(self._write, append.key)
                if known is not None:
                    return DuplicateCommand(append.key, known)
                self._write.execute(
                    "insert into commands (key, outcome, recorded_at) values (?, ?, ?)",
                    (append.key, append.outcome.model_dump_json(), now),
                )
            return [
                self._insert_event(append.stream, version, event, now)
                for version, event in enumerate(append.events, append.expected_version + 1)
            ]
        except sqlite3.IntegrityError as error:
            self._write.execute("ROLLBACK TO member")
            return ConcurrencyError(append.stream, append.expected_version) if "events.stream" in str(error) else error
        finally:
            self._write.execute("RELEASE member")

    def _insert_event(self, stream: str, version: int, event: NewEvent, now: str) -> int:
        metadata = event.metadata.model_dump_json()
        cursor = self._write.execute(
            "insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)"
            " values (?, ?, ?, ?, ?, ?, ?, ?)",
            (stream, version, str(event.id), event.type, event.schema_version, event.data, metadata, now),
        )
        return cursor.lastrowid or 0

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        query = f"select {_COLUMNS} from events where stream = ? and version > ? order by version"  # noqa: S608 our columns
        return await self._events(query, stream, after_version)

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, lambda: _outcome(self._read, key))

    async def head(self) -> int:
        """See the port."""
        rows = await self._rows("select coalesce(max(position), 0) from events")
        return int(rows[0][0])

    def reader(self, after: int) -> SqliteLogReader:
        """See the port."""
        return SqliteLogReader(self, after)

    async def read_after(self, position: int, limit: int) -> list[RecordedEvent]:
        """Read a page of the log; used by the reader."""
        query = f"select {_COLUMNS} from events where position > ? order by position limit ?"  # noqa: S608 our columns
        return await self._events(query, position, limit)

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See the port. Only appends of this process wake; others are found by polling."""
        self._wakes.append(wake)

    async def _events(self, query: str, *values: object) -> list[RecordedEvent]:
        return [self._recorded(row) for row in await self._rows(query, *values)]

    async def _rows(self, query: str, *values: object) -> list[Any]:
        def fetch() -> list[Any]:
            try:
                return self._read.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StoreUnavailable(f"{self._path}: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._read_thread, fetch)

    def _recorded(self, row: Any) -> RecordedEvent:
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


def _outcome(connection: sqlite3.Connection, key: str) -> CommandOutcome | None:
    row = connection.execute("select outcome from commands where key = ?", (key,)).fetchone()
    return CommandOutcome.model_validate_json(row[0]) if row else None


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
