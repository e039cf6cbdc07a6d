"""Who may move a checkpoint: a lease row with an epoch, in the service's own database.

Not a session lock: its holder can believe in it after the server has given it to another (failures B10). And no lock outlives
the lease: a process that is stopped at any place holds nothing that its successor waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import LeaseLost, LogWentBack
from sagakit.ports import EventStore, LogReader, ReadModels
from sagakit.sql import bookkeeping, idleness

_SHORTEST_BOUND_SECONDS = 1.0  # the shortest lease that can be set; below it a busy process would pass for a sleeping one


class Leader:
    """The lease on one named checkpoint, as one process sees it."""

    def __init__(self, tables: ReadModels, name: str, owner: str, seconds: float) -> None:
        """Name the checkpoint and this process; the lease lasts ``seconds`` without renewal."""
        self.tables, self.name, self._owner, self._seconds = tables, name, owner, seconds
        self.position = 0
        self._event_id: str | None = None
        self._epoch = 0
        self._renewed_at = 0.0

    async def take(self) -> bool:
        """Try to lead; the position is then the one in the database."""
        asked_at = asyncio.get_running_loop().time()
        async with self.tables.autocommit() as session:
            taken = await bookkeeping.take_lease(session, self.name, self._owner, self._seconds)
        if taken is None:
            return False
        self._epoch, self.position, self._event_id = taken
        self._renewed_at = asked_at
        return True

    async def reader(self, store: EventStore) -> LogReader:
        """Open the log where the checkpoint stands.

        Raises `LogWentBack` when the log does not reach so far, or has another event there (failures A9).
        """
        head = await store.head()
        if self.position > head:
            raise LogWentBack(store.service, self.name, self.position, head)
        if self._event_id is not None:
            there = await store.reader(self.position - 1).read(1)
            if not there or (there[0].position, str(there[0].id)) != (self.position, self._event_id):
                raise LogWentBack(store.service, self.name, self.position, head)
        return store.reader(self.position)

    @property
    def is_certain(self) -> bool:
        """True while the lease cannot have ended, by this process's own clock, which goes on while it is stopped."""
        return asyncio.get_running_loop().time() < self._renewed_at + self._seconds

    async def renew(self) -> None:
        """Renew the lease when a third of it has passed. Raises `LeaseLost` when another process has it."""
        if asyncio.get_running_loop().time() < self._renewed_at + self._seconds / 3:
            return
        epoch, position = self._epoch, self.position
        if not await self.take() or (self._epoch, self.position) != (epoch, position):
            raise LeaseLost(f"{self.name}: another process led meanwhile")

    async def advance(self, position: int, event_id: UUID | None = None) -> None:
        """Move the checkpoint by a statement of its own, which renews the lease too. Raises `LeaseLost`."""
        asked_at = asyncio.get_running_loop().time()
        async with self.tables.autocommit() as session:
            await self.advance_within(session, position, event_id)
        self.position, self._renewed_at = position, asked_at

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction for what the leader writes; the server ends it when this process sleeps in it as long as a lease.

        Raises `StoreUnavailable` then.
        """
        async with self.tables.transaction() as session:
            await idleness.bound(session, max(self._seconds, _SHORTEST_BOUND_SECONDS))
            yield session

    async def advance_within(self, session: AsyncSession, position: int, event_id: UUID | None = None) -> None:
        """Move the checkpoint in the caller's transaction; the caller sets `position` once that is committed.

        With the position where it stands it is a fence: what the transaction writes besides is written by the leader only.
        """
        new_id = None if event_id is None else str(event_id)
        await bookkeeping.advance(
            session, self.name, self._epoch, self.position, position, event_id=new_id, seconds=self._seconds
        )

    async def release(self) -> None:
        """Give the lease up."""
        async with self.tables.autocommit() as session:
            await bookkeeping.release_lease(session, self.name, self._owner)
