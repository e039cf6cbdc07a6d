"""Forgets the outcomes of commands that nobody will send again, a few at a time, whether or not the service is idle."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from sagakit.errors import InfrastructureError
from sagakit.ports import EventStore
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.retention")
_BATCH = 500
_PAUSE_SECONDS = 60.0
_BREATH_SECONDS = 0.05


class Retention:
    """The loop of one service. Several processes may run it: what one removed, the others do not find."""

    def __init__(self, store: EventStore, keep_hours: float) -> None:
        """Take the log, and for how long the outcome of a command is kept."""
        self._store, self._keep = store, timedelta(hours=keep_hours)
        self._stopped = asyncio.Event()

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
            removed = await self._store.forget_outcomes(before, _BATCH)
            total += removed
            if removed:
                count("sagakit.commands.forgotten", removed, service=self._store.service)
            if removed < _BATCH:
                break
            await self._rest(_BREATH_SECONDS)
        return total

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)
