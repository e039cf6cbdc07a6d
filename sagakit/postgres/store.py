"""The event log in PostgreSQL, over asyncpg: an append is one statement, one round trip, one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg

from sagakit.chain import digest
from sagakit.errors import StoreUnavailable
from sagakit.messages import RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, Snapshot, StoredLink
from sagakit.postgres import statements
from sagakit.postgres.appending import Appending
from sagakit.postgres.connections import LINK_ERRORS, Connections
from sagakit.postgres.reader import GapHoldReader
from sagakit.sql.group_commit import GroupCommit

_CHANNEL = "sagakit_events"
_CLOSING_SECONDS = 3
_WAKE_PAUSE_SECONDS = 0.04  # at most 25 wake-ups a second: each wakes a backend and every listening process


class PostgresEventStore:
    """Implements the port `EventStore`."""

    def __init__(
        self,
        service: str,
        url: str,
        *,
        is_grouped: bool = True,
        is_chained: bool = False,
        is_waking: bool = True,
        seconds: float = 10.0,
    ) -> None:
        """Name the service and its database; `open` connects.

        ``is_grouped`` lets concurrent appends share a commit, ``is_chained`` hashes each event with the one before it,
        ``is_waking`` tells other processes of appends, and ``seconds`` bounds one statement and the search for a lost answer.
        """
        self.service, self._url = service, url
        self._is_waking = is_waking
        self._connections = Connections(service, url, seconds)
        self._appending = Appending(self._connections, seconds, is_chained=is_chained)
        self._group = GroupCommit(self._appending.alone, self._appending.together)
        self._commit = self._group.append if is_grouped else self._appending.alone
        self._wakes: list[Callable[[], None]] = []
        self._notify, self._ended = asyncio.Event(), asyncio.Event()
        self._is_closing = False
        self._name = uuid4().hex
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect, and begin to send and to hear wake-ups."""
        await self._connections.open()
        if self._is_waking:
            self._tasks = [asyncio.create_task(self._send_wakes()), asyncio.create_task(self._hear_wakes())]

    async def close(self) -> None:
        """Finish the appends in hand, then disconnect."""
        await self._group.drain()
        # Told, not cancelled: a connection that is being made would be left behind open.
        self._is_closing = True
        self._notify.set()
        self._ended.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connections.close()

    async def append(self, append: Append) -> list[int]:
        """See the port."""
        positions = await self._commit(append)
        self._wake()
        self._notify.set()
        return positions

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        rows = await self._connections.fetch_patiently(statements.LOAD, stream, after_version)
        return [self._recorded(row) for row in rows]

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        rows = await self._connections.fetch("select outcome from commands where key = $1", key)
        return CommandOutcome.model_validate_json(rows[0]["outcome"]) if rows else None

    async def forget_outcomes(self, before: datetime, limit: int) -> int:
        """See the port."""
        rows = await self._connections.fetch(statements.FORGET_OUTCOMES, before, limit)
        return int(rows[0][0])

    async def links(self, after: tuple[str, int], limit: int) -> list[StoredLink]:
        """See the port."""
        rows = await self._connections.fetch(statements.LINKS, *after, limit)
        return [
            StoredLink(
                stream=row["stream"],
                version=row["version"],
                position=row["position"],
                event_id=row["id"],
                type=row["type"],
                digest=digest(
                    row["stream"], row["version"], row["id"], row["type"], row["schema_version"], row["data"], row["metadata"]
                ),
                recorded_at=row["recorded_at"],
                hash=row["hash"],
            )
            for row in rows
        ]

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """See the port."""
        rows = await self._connections.fetch_patiently(statements.LOAD_SNAPSHOT, stream)
        return Snapshot(stream, *rows[0]) if rows else None

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See the port."""
        s = snapshot
        await self._connections.fetch(
            statements.SAVE_SNAPSHOT, s.stream, s.version, s.event_id, s.fingerprint, s.checksum, s.state
        )

    async def head(self) -> int:
        """See the port."""
        rows = await self._connections.fetch("select coalesce(max(position), 0) from events")
        return int(rows[0][0])

    def reader(self, after: int) -> GapHoldReader:
        """See the port."""
        return GapHoldReader(self._connections.fetch, self._recorded, statements.COLUMNS, after)

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See the port."""
        self._wakes.append(wake)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()

    def _hear(self, _connection: object, _pid: int, _channel: str, sender: str) -> None:
        if sender != self._name:  # its own appends have woken already
            self._wake()

    async def _send_wakes(self) -> None:
        # Outside the business transaction, and one for many appends: a NOTIFY inside would serialise all commits.
        while True:
            await self._notify.wait()
            if self._is_closing:
                return
            self._notify.clear()
            try:
                await self._connections.fetch(statements.NOTIFY, _CHANNEL, self._name)
                await asyncio.sleep(_WAKE_PAUSE_SECONDS)
            except (StoreUnavailable, asyncpg.PostgresError):
                await asyncio.sleep(0.5)  # others poll meanwhile

    async def _hear_wakes(self) -> None:
        while not self._is_closing:
            self._ended.clear()
            try:
                connection = await self._connections.connect()
                try:
                    connection.add_termination_listener(lambda _: self._ended.set())
                    await connection.add_listener(_CHANNEL, self._hear)
                    if not self._is_closing:
                        await self._ended.wait()
                finally:
                    await connection.close(timeout=2)
            except (*LINK_ERRORS, asyncpg.PostgresError):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), 1)

    def _recorded(self, row: Any) -> RecordedEvent:
        return RecordedEvent(self.service, *row)  # the columns stand in the order of its fields
