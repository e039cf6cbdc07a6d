"""Who may move a checkpoint: a lease row with an epoch, in the service's own database.

Not a session lock: its holder can believe in it after the server has given it to another (failures B10).
"""

from __future__ import annotations

import asyncio

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import LeaseLost, LogWentBack
from sagakit.ports import EventStore, LogReader, ReadModels
from sagakit.sql import bookkeeping


class Leader:
    """The lease on one named checkpoint, as one process sees it."""

    def __init__(self, tables: ReadModels, name: str, owner: str, seconds: float) -> None:
        """Name the checkpoint and this process; the lease lasts ``seconds`` without renewal."""
        self.tables, self._name, self._owner, self._seconds = tables, name, owner, seconds
        self.position = 0
        self._epoch = 0
        self._renew_at = 0.0

    async def take(self) -> bool:
        """Try to lead; the position is then the one in the database."""
        async with self.tables.transaction() as session:
            taken = await bookkeeping.take_lease(session, self._name, self._owner, self._seconds)
        if taken is None:
            return False
        self._epoch, self.position = taken
        self._renew_at = asyncio.get_running_loop().time() + self._seconds / 3
        return True

    async def reader(self, store: EventStore) -> LogReader:
        """Open the log where the checkpoint stands. Raises `LogWentBack` when the log does not reach so far (failures A9)."""
        head = await store.head()
        if self.position > head:
            raise LogWentBack(store.service, self._name, self.position, head)
        return store.reader(self.position)

    async def renew(self) -> None:
        """Renew the lease when a third of it has passed. Raises `LeaseLost` when another process has it."""
        if asyncio.get_running_loop().time() < self._renew_at:
            return
        epoch, position = self._epoch, self.position
        if not await self.take() or (self._epoch, self.position) != (epoch, position):
            raise LeaseLost(f"{self._name}: another process led meanwhile")

    async def advance(self, position: int) -> None:
        """Move the checkpoint in a transaction of its own. Raises `LeaseLost`."""
        async with self.tables.transaction() as session:
            await self.advance_within(session, position)
        self.position = position

    async def advance_within(self, session: AsyncSession, position: int) -> None:
        """Move the checkpoint in the caller's transaction; the caller sets `position` once that is committed."""
        await bookkeeping.advance(session, self._name, self._epoch, self.position, position)

    async def release(self) -> None:
        """Give the lease up."""
        async with self.tables.transaction() as session:
            await bookkeeping.release_lease(session, self._name, self._owner)
