"""The waiting room's loop: tries again what is due, stream by stream in order, beside whatever else the consumer does.

Nobody waits for it: a pause is a time in a row of the database, and survives every restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from sagakit import crash_points
from sagakit.applying import Applier
from sagakit.errors import InfrastructureError
from sagakit.messages import RecordedEvent
from sagakit.ports import ReadModels
from sagakit.sql import consumers, parking
from sagakit.sql.faults import blames_event, machine_trouble
from sagakit.sql.tables import ParkedRow
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.retrier")
_IDLE_SECONDS, _SHORTEST_SECONDS = 1.0, 0.01
_STRANDED_SECONDS = 5.0
Before = Callable[[RecordedEvent], Awaitable[None]]


class Retrier:
    """The loop over one consumer's waiting room. Several processes may run it: a row is locked while it is tried.

    Delivery: effect, inbox row and removal of the row in one transaction. Ordering: only the head of a stream is tried, and
    the next one only once it is gone.
    """

    def __init__(self, applier: Applier, tables: ReadModels, lock: asyncio.Lock, before: Before | None = None) -> None:
        """Take what applies an event, the tables, the lock that keeps effects of this process apart, and what runs ahead."""
        self._applier, self._tables, self._lock, self._before = applier, tables, lock, before
        self._consumer = applier.consumer
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._look_for_stranded_at = 0.0
        self._next_due: float | None = None

    def wake(self) -> None:
        """Say that something was set aside."""
        self._wake.set()

    def stop(self) -> None:
        """End after the event in hand."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Try again until stopped; the machine's trouble is waited out."""
        last_trouble = ""
        while not self._is_stopping:
            pause = _IDLE_SECONDS
            try:
                if await self.retry_due():
                    continue
                last_trouble = ""
                if self._next_due is not None and self._next_due > time.time():
                    pause = min(pause, self._next_due - time.time())
            except InfrastructureError as error:
                if str(error) != last_trouble:
                    last_trouble = str(error)
                    _log.warning("waiting", consumer=self._consumer, reason=last_trouble)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(_SHORTEST_SECONDS, pause))
            self._wake.clear()

    async def retry_due(self, now: float | None = None) -> int:
        """Try every head that is due once; return how many were. Raises `InfrastructureError` when the machine failed any."""
        trouble: Exception | None = None
        tried = 0
        with machine_trouble(f"the waiting room of {self._consumer}"):
            for row in await self._due(time.time() if now is None else now):
                if self._is_stopping:
                    break
                try:
                    tried += await self._retry(row)
                except Exception as error:  # noqa: BLE001 the other streams go on; raised below
                    trouble = trouble or error
            if trouble is not None:
                raise trouble
        return tried

    async def _due(self, now: float) -> list[ParkedRow]:
        async with self._tables.transaction() as session:
            await consumers.require_running(session, self._consumer)
            if time.monotonic() >= self._look_for_stranded_at:
                await parking.release_stranded(session, self._consumer)
                self._look_for_stranded_at = time.monotonic() + _STRANDED_SECONDS
            self._next_due = await parking.next_due(session, self._consumer)
            return [] if self._next_due is None else await parking.due_heads(session, self._consumer, now)

    async def _retry(self, row: ParkedRow) -> bool:
        """Try one head: ahead of the transaction what must be there, then all the rest in it. False when somebody else has it."""
        failure: Exception | None = None
        if self._before is not None:
            try:
                await self._before(parking.event_of(row.message))
            except Exception as error:
                if not blames_event(error):
                    raise
                failure = error
        async with self._lock, self._tables.transaction() as session:
            await consumers.require_running(session, self._consumer)
            taken = await parking.take(session, self._consumer, row.event_id)
            if taken is None or (taken.message, taken.attempts) != (row.message, row.attempts):
                return False
            if failure is None:
                try:
                    await self._applier.try_one(session, parking.event_of(row.message))
                except Exception as error:
                    if not blames_event(error):
                        raise
                    failure = error
            if failure is None:
                await parking.release(session, row)
                crash_points.reached(crash_points.PARKED_RETRIED)
            else:
                attempts = row.attempts + 1
                state, due_at = self._applier.patience.after(attempts, failure)
                await parking.put_off(session, row, parking.reason_of(failure), state, attempts, due_at)
        self._tell(row, failure)
        return True

    def _tell(self, row: ParkedRow, failure: Exception | None) -> None:
        facts = {"consumer": self._consumer, "stream": row.stream, "version": row.version, "attempts": row.attempts + 1}
        if failure is None:
            _log.info("handled at last", **facts)
        elif self._applier.patience.after(row.attempts + 1, failure)[0] == "parked":
            count("sagakit.consumer.parked", consumer=self._consumer, cause="attempts")
            _log.error("parked", reason=parking.reason_of(failure), **facts)
        else:
            count("sagakit.consumer.retries", consumer=self._consumer)
            _log.warning("failed again", reason=parking.reason_of(failure), **facts)
