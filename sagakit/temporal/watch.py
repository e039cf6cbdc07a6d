"""Finds sagas that ended without an outcome: terminated or reset by hand, or failed behind their pivot. No code of theirs ran."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from sagakit.errors import TemporalUnavailable
from sagakit.telemetry import lost_sagas
from sagakit.temporal.executions import Executions

_log = structlog.get_logger("sagakit.watch")
_PAUSE_SECONDS = 15.0


class SagaWatch:
    """The loop of a process that runs sagas. Each lost saga is told of once; the gauge shows how many there are now."""

    def __init__(self, executions: Executions, pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Take where to look, and how often."""
        self._executions, self._pause = executions, pause_seconds
        self._told: set[str] = set()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    async def run(self) -> None:
        """Look until stopped; trouble with Temporal is waited out."""
        while not self._stopped.is_set():
            try:
                await self.look()
            except TemporalUnavailable as error:
                _log.warning("waiting", reason=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._pause)

    async def look(self) -> list[str]:
        """Look once; return the lost sagas."""
        lost = {execution.workflow_id: execution for execution in await self._executions.lost()}
        for workflow_id, execution in lost.items():
            if workflow_id not in self._told:
                _log.error("a saga ended without an outcome", saga=workflow_id, status=execution.status)
        self._told = set(lost)
        lost_sagas().record("sagas", len(lost))
        return sorted(lost)
