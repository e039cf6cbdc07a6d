"""Event to bus: publishes one service's log, in order, and moves its checkpoint over what is confirmed.

Delivery: at least once; an event's id is the message id, so consumers recognise a repetition. Ordering: stream order.
One relay per service leads, by a lease row with an epoch; every checkpoint write is fenced by it (I8, B10).
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, EventStore
from sagakit.telemetry import send_span

_log = structlog.get_logger("sagakit.relay")


class Relay:
    """The loop of one service. `run` ends only when it is cancelled or told to stop."""

    def __init__(self, store: EventStore, leader: Leader, bus: Bus, batch: int, poll_seconds: float) -> None:
        """Take what it reads from, the lease it leads by, and what it publishes to."""
        self._store, self._leader, self._bus = store, leader, bus
        self._batch, self._poll_seconds = batch, poll_seconds
        self._wake = asyncio.Event()
        store.on_commit(self._wake.set)
        self._is_stopping = False

    def stop(self) -> None:
        """End after the batch in hand."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Publish until stopped; trouble with the store or the bus is waited out. Raises `LogWentBack`."""
        pause = self._poll_seconds
        while not self._is_stopping:
            try:
                if await self._leader.take():
                    await self._lead()
                pause = self._poll_seconds
            except LeaseLost as error:
                _log.warning("lost the lease", reason=str(error))
            except InfrastructureError as error:
                _log.warning("waiting", reason=str(error))
                pause = min(pause * 2, 5.0)
            await self._rest(pause)
        await self._leader.release()

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        self._wake.clear()

    async def _lead(self) -> None:
        reader = await self._leader.reader(self._store)
        waiting: deque[RecordedEvent] = deque()
        while not self._is_stopping:
            await self._leader.renew()
            if len(waiting) < self._batch:
                waiting.extend(await reader.read(self._batch - len(waiting)))
            if not waiting:
                await self._rest(self._poll_seconds)
                continue
            await self._publish(waiting)

    async def _publish(self, waiting: deque[RecordedEvent]) -> None:
        """Publish what waits; take the confirmed prefix off it. Raises the first failure after that."""
        batch = list(waiting)
        with send_span(f"{self._store.service}.events", [event.metadata.traceparent for event in batch]):
            answers = await self._bus.publish(batch)
        confirmed = next((i for i, answer in enumerate(answers) if answer is not None), len(batch))
        if confirmed:
            await self._leader.advance(batch[confirmed - 1].position)
            for _ in range(confirmed):
                waiting.popleft()
        if confirmed < len(batch):
            raise _as_infrastructure(answers[confirmed])


def _as_infrastructure(failure: Exception | None) -> InfrastructureError:
    if isinstance(failure, InfrastructureError):
        return failure
    return InfrastructureError(f"an event was not handed over: {failure!r}")
