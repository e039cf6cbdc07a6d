"""Back pressure: commands wait while too much of what was recorded is undelivered, with the broker away for long, say."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from sagakit.errors import BackPressure, InfrastructureError
from sagakit.ports import ReadModels
from sagakit.repository import Repository
from sagakit.sql import subscriptions

_log = structlog.get_logger("sagakit.pressure")
_LOOK_SECONDS = 1.0


class Pressure:
    """The loop that looks once a second how far delivery is behind, for one service whose commands this process handles.

    What counts is the head of the log less the lowest cursor among its subscriptions: not those that are detached, which
    wait by themselves, nor those that no code declares any more. Commands are refused before anything is decided, and taken
    again by themselves.
    """

    def __init__(self, repository: Repository, tables: ReadModels, declared: Collection[str], limit: int) -> None:
        """Take whose commands, where its subscriptions are recorded, which consumers this code declares, and the limit."""
        self._repository, self._tables, self._declared, self._limit = repository, tables, frozenset(declared), limit
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    async def run(self) -> None:
        """Look until stopped. While the database does not answer, commands fail by themselves, and nothing changes here."""
        while not self._stopped.is_set():
            try:
                await self.look()
            except InfrastructureError as error:
                _log.warning("waiting", service=self._repository.store.service, reason=str(error))
            try:
                await asyncio.wait_for(self._stopped.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look now."""
        service = self._repository.store.service
        async with self._tables.transaction() as session:
            cursors = await subscriptions.cursors(session, self._declared)
        undelivered, consumer = 0, ""
        if cursors:
            consumer = min(cursors, key=lambda name: cursors[name])
            undelivered = await self._repository.store.head() - cursors[consumer]
        refusal = BackPressure(service, undelivered, self._limit, consumer) if undelivered > self._limit else None
        if (refusal is None) != (self._repository.refusal is None):
            _log.warning("commands are taken again" if refusal is None else "commands are refused", service=service)
        self._repository.refusal = refusal
