"""Forgets what nobody will ask for again, a few rows at a time, whether or not the service is idle.

That is the outcomes of commands, and the inbox rows of its consumers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from sagakit.errors import InfrastructureError
from sagakit.ports import EventStore, ReadModels
from sagakit.sql import inbox
from sagakit.sql.faults import machine_trouble
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.retention")
_BATCH = 500
_PAUSE_SECONDS = 60.0
_BREATH_SECONDS = 0.05
Forget = Callable[[datetime, int], Awaitable[int]]
"""Removes at most so many rows from before a time; returns how many."""


class Retention:
    """The loop of one service. Several processes may run it: what one removed, the others do not find."""

    def __init__(self, service: str, counter: str, forget: Forget, keep_hours: float) -> None:
        """Name the service and the counter of what is removed; take what removes it, and how long it is kept."""
        self._service, self._counter, self._forget, self._keep = service, counter, forget, timedelta(hours=keep_hours)
        self._stopped = asyncio.Event()

    @classmethod
    def of_outcomes(cls, store: EventStore, keep_hours: float) -> Retention:
        """Forget the outcomes of commands."""
        return cls(store.service, "sagakit.commands.forgotten", store.forget_outcomes, keep_hours)

    @classmethod
    def of_inbox(cls, service: str, tables: ReadModels, keep_hours: float) -> Retention:
        """Forget what consumers have handled; the heads of the streams stay, as the second guard (failures C4)."""

        async def forget(before: datetime, limit: int) -> int:
            with machine_trouble(f"the inbox of service {service}"):
                async with tables.transaction() as session:
                    return await inbox.forget(session, before, limit)

        return cls(service, "sagakit.inbox.forgotten", forget, keep_hours)

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopped.set()

    async def run(self) -> None:
        """Look once a minute until stopped; trouble with the store is waited out."""
        while not self._stopped.is_set():
            try:
                await self.forget()
            except InfrastructureError as error:
                _log.warning("waiting", reason=str(error))
            await self._rest(_PAUSE_SECONDS)

    async def forget(self, now: datetime | None = None) -> int:
        """Remove everything that is over its time, in small batches with a breath between; return how much."""
        before, total = (now or datetime.now(UTC)) - self._keep, 0
        while not self._stopped.is_set():
            removed = await self._forget(before, _BATCH)
            total += removed
            if removed:
                count(self._counter, removed, service=self._service)
            if removed < _BATCH:
                break
            await self._rest(_BREATH_SECONDS)
        return total

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
