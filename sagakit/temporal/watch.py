"""Finds sagas that need a person: those parked now, and those that ended without an outcome, where no code of theirs ran."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import structlog

from sagakit.errors import TemporalUnavailable
from sagakit.telemetry import lost_sagas, parked_sagas
from sagakit.temporal.executions import Executions

_log = structlog.get_logger("sagakit.watch")
_PAUSE_SECONDS = 15.0
_IS_LOST, _IS_PARKED = "a saga ended without an outcome", "a saga is parked for a person"


class SagaWatch:
    """The loop of a process that runs sagas: tells of each such saga once; the gauges show how many there are now.

    Every process reports the whole namespace, so that the alarm stands as long as one process runs.
    """

    def __init__(self, executions: Executions, sagas: Iterable[str] = (), pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Take where to look, the sagas for which none is reported as none, and how often to look."""
        self._executions, self._sagas, self._pause = executions, set(sagas), pause_seconds
        self._told: set[tuple[str, str]] = set()
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
        lost, parked = await self._executions.lost(), await self._executions.parked()
        found = [*((_IS_LOST, each) for each in lost), *((_IS_PARKED, each) for each in parked)]
        for what, each in found:
            if (what, each.workflow_id) not in self._told:
                _log.error(what, saga=each.workflow_id, status=each.status)
        self._told = {(what, each.workflow_id) for what, each in found}
        lost_sagas().record("sagas", len(lost))
        counts = Counter(each.workflow_id.partition("/")[0] for each in parked)
        self._sagas |= set(counts)
        for saga in self._sagas:
            parked_sagas().record(saga, counts[saga])
        return sorted(each.workflow_id for each in lost)
