"""The event log in a SQLite file: one writer at a time, so the position order is the commit order.

Appends that arrive while a commit is on its way share the next one; each stands in a savepoint, so that one member's
conflict fails that member alone, and a lone append waits for nobody.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sagakit.chain import digest, link
from sagakit.errors import ConcurrencyError, DuplicateCommand, StoreUnavailable
from sagakit.messages import NewEvent, RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, Snapshot, StoredLink
from sagakit.sql.group_commit import Answer, GroupCommit

_COLUMNS = "position, stream, version, id, type, schema_version, data, metadata, recorded_at"
_SAVE_SNAPSHOT = """
insert into snapshots (stream, version, event_id, fingerprint, checksum, state) values (?, ?, ?, ?, ?, ?)
on conflict (stream) do update set version = excluded.version, event_id = excluded.event_id, fingerprint = excluded.fingerprint,
    checksum = excluded.checksum, state = excluded.state, taken_at = current_timestamp
    where excluded.version > snapshots.version or excluded.fingerprint <> snapshots.fingerprint
"""
_FORGET = "delete from commands where key in (select key from commands where recorded_at < ? order by recorded_at limit ?)"
T = TypeVar("T")


class SqliteEventStore:
    """Implements the port `EventStore`. Durable at return: WAL with synchronous FULL.

    The writing and the reading connection have a thread each. A whole group is one call into the writing thread: crossing
    over per statement would cost more than the statements.
    """

    def __init__(self, service: str, path: Path, *, is_grouped: bool = True, is_chained: bool = False) -> None:
        """Name the service and its file; `open` connects.

        ``is_grouped`` lets concurrent appends share a commit, ``is_chained`` hashes each event with the one before it.
        """
        self.service, self._path, self._is_chained = service, path, is_chained
        group = GroupCommit(self._alone, self._together)
        self._group, self._commit_append = group, group.append if is_grouped else self._alone
        self._wakes: list[Callable[[], None]] = []
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-write-{service}")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-read-{service}")

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        try:
            self._write = await loop.run_in_executor(self._write_thread, self._connect)
            self._read = await loop.run_in_executor(self._read_thread, self._connect)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}. Choose another folder with SAGAKIT_DATA") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    async def close(self) -> None:
        """Finish the appends in hand, then disconnect."""
        loop = asyncio.get_running_loop()
        await self._group.drain()
        for thread, connection in ((self._write_thread, self._write), (self._read_thread, self._read)):
            await loop.run_in_executor(thread, connection.close)
            thread.shutdown()

    async def append(self, append: Append) -> list[int]:
        """See the port."""
        positions = await self._commit_append(append)
        for wake in self._wakes:
            wake()
        return positions

    async def _alone(self, append: Append) -> list[int]:
        (answer,) = await self._together([append])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _together(self, group: Sequence[Append]) -> Sequence[Answer]:
        return await asyncio.get_running_loop().run_in_executor(self._write_thread, self._commit, group)

    def _commit(self, group: Sequence[Append]) -> list[Answer]:
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

    def _insert(self, append: Append) -> Answer:
        now = datetime.now(UTC)
        self._write.execute("SAVEPOINT member")
        try:
            if append.key is not None and append.outcome is not None:
                known = _outcome(self._write, append.key)
                if known is not None:
                    return DuplicateCommand(append.key, known)
                self._write.execute(
                    "insert into commands (key, outcome, recorded_at) values (?, ?, ?)",
                    (append.key, append.outcome.model_dump_json(), now.isoformat()),
                )
            if not append.events:
                return []
            previous = self._hash_before(append)
            if previous is None:
                self._write.execute("ROLLBACK TO member")
                return ConcurrencyError(append.stream, append.expected_version)
            positions: list[int] = []
            for version, event in enumerate(append.events, append.expected_version + 1):
                position, previous = self._insert_event(append.stream, version, event, now, previous)
                positions.append(position)
        except sqlite3.IntegrityError as error:
            self._write.execute("ROLLBACK TO member")
            return ConcurrencyError(append.stream, append.expected_version) if "events.stream" in str(error) else error
        else:
            return positions
        finally:
            self._write.execute("RELEASE member")

    def _hash_before(self, append: Append) -> bytes | None:
        """Return the hash of the version the writer last saw, empty for an unchained one; None when it is not there."""
        if append.expected_version == 0:
            return b""
        query = "select hash from events where stream = ? and version = ?"
        row = self._write.execute(query, (append.stream, append.expected_version)).fetchone()
        return None if row is None else row[0] or b""

    def _insert_event(self, stream: str, version: int, event: NewEvent, now: datetime, previous: bytes) -> tuple[int, bytes]:
        metadata = event.metadata.model_dump_json()
        chained: bytes | None = None
        if self._is_chained:
            own = digest(stream, version, event.id, event.type, event.schema_version, event.data, metadata)
            chained = link(previous, own, now)
        cursor = self._write.execute(
            "insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at, hash)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (stream, version, str(event.id), event.type, event.schema_version, event.data, metadata, now.isoformat(), chained),
        )
        return cursor.lastrowid or 0, chained or b""

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        query = f"select {_COLUMNS} from events where stream = ? and version > ? order by version"  # noqa: S608 our columns
        return await self._events(query, stream, after_version)

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        return await self._on_read_thread(lambda connection: _outcome(connection, key))

    async def forget_outcomes(self, before: datetime, limit: int) -> int:
        """See the port."""
        return await self._on_write_thread(lambda connection: connection.execute(_FORGET, (before.isoformat(), limit)).rowcount)

    async def links(self, after: tuple[str, int], limit: int) -> list[StoredLink]:
        """See the port."""
        query = f"select {_COLUMNS}, hash from events where (stream, version) > (?, ?) order by stream, version limit ?"  # noqa: S608 our columns
        return [_link(row) for row in await self._rows(query, *after, limit)]

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """See the port."""
        query = "select version, event_id, fingerprint, checksum, state from snapshots where stream = ?"
        rows = await self._rows(query, stream)
        if not rows:
            return None
        version, event_id, *rest = rows[0]
        return Snapshot(stream, version, UUID(event_id), *rest)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See the port."""
        s = snapshot
        values = (s.stream, s.version, str(s.event_id), s.fingerprint, s.checksum, s.state)
        await self._on_write_thread(lambda connection: connection.execute(_SAVE_SNAPSHOT, values))

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
        return await self._on_read_thread(lambda connection: connection.execute(query, values).fetchall())

    async def _on_read_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._read_thread, self._translated, work, self._read)

    async def _on_write_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._write_thread, self._translated, work, self._write)

    def _translated(self, work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
        try:
            return work(connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _recorded(self, row: Any) -> RecordedEvent:
        position, stream, version, event_id, event_type, schema_version, data, metadata, recorded_at = row
        return RecordedEvent(
            service=self.service,
            position=position,
            stream=stream,
            version=version,
            id=UUID(event_id),
            type=event_type,
            schema_version=schema_version,
            data=data,
            metadata_text=metadata,
            recorded_at=datetime.fromisoformat(recorded_at),
        )


def _outcome(connection: sqlite3.Connection, key: str) -> CommandOutcome | None:
    row = connection.execute("select outcome from commands where key = ?", (key,)).fetchone()
    return CommandOutcome.model_validate_json(row[0]) if row else None


def _link(row: Any) -> StoredLink:
    position, stream, version, event_id, event_type, schema_version, data, metadata, recorded_at, stored = row
    return StoredLink(
        stream=stream,
        version=version,
        position=position,
        event_id=UUID(event_id),
        type=event_type,
        digest=digest(stream, version, UUID(event_id), event_type, schema_version, data, metadata),
        recorded_at=datetime.fromisoformat(recorded_at),
        hash=stored,
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
