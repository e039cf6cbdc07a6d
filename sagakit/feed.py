"""Event to one subscription: its own cursor over the log, so that no consumer ever holds back, or hides, another.

A late subscriber is a cursor that stands at 0; one whose backlog is over its limit is a cursor that stands still; a
takeover is another process at the same cursor. All of them are the same path.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, LogReader, Subscription
from sagakit.repartition import exchanged
from sagakit.shared_log import SharedLog
from sagakit.telemetry import send_span

_log = structlog.get_logger("sagakit.feed")
_STANDBY_SECONDS = 1.0


class Feed:
    """The loop of one subscription.

    Delivery: at least once; an event's id is the message id, so the consumer recognises a repetition. Ordering: log order, so
    stream order. The checkpoint moves over the contiguous confirmed prefix, fenced by the epoch of the lease (I8, B10).
    """

    def __init__(
        self, subscription: Subscription, log: SharedLog, leader: Leader, bus: Bus, batch: int, poll_seconds: float
    ) -> None:
        """Take whom it feeds, the log, the lease on the cursor, and the bus."""
        self.subscription, self._log, self._leader, self._bus = subscription, log, leader, bus
        self._batch, self._poll_seconds = batch, poll_seconds
        self._wake = asyncio.Event()
        log.on_commit(self._wake.set)
        self._is_stopping = False

    def stop(self) -> None:
        """End after the batch in hand."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Publish until stopped; trouble with the store or the bus is waited out. Raises `LogWentBack`."""
        pause = self._poll_seconds
        while not self._is_stopping:
            rest = _STANDBY_SECONDS
            try:
                if await self._leader.take():
                    await self._lead()
                pause = self._poll_seconds
            except LeaseLost as error:
                _log.warning("lost the lease", consumer=self.subscription.consumer, reason=str(error))
            except InfrastructureError as error:
                _log.warning("waiting", consumer=self.subscription.consumer, reason=str(error))
                rest = pause = min(pause * 2, 5.0)
            await self._rest(rest)
        await self._leader.release()

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        self._wake.clear()

    async def _lead(self) -> None:
        await self._bus.declare([self.subscription])
        if not await exchanged(self._leader, self._bus, self.subscription):
            return  # its former queues are not empty yet: looked at again soon
        await self._leader.reader(self._log.store)  # refuses a log that went back
        follower: LogReader = self._log.follow(self._leader.position)
        waiting: deque[RecordedEvent] = deque()
        seen = self._leader.position
        while not self._is_stopping:
            await self._leader.renew()
            if len(waiting) < self._batch and (page := await follower.read(self._batch)):
                seen = page[-1].position
                waiting.extend(event for event in page if event.type in self.subscription.event_types)
            if waiting:
                await self._publish(waiting)
            elif seen > self._leader.position:
                await self._leader.advance(seen)  # over what this consumer does not want
            else:
                await self._rest(self._poll_seconds)

    async def _publish(self, waiting: deque[RecordedEvent]) -> None:
        """Publish what waits; take the confirmed prefix off it. Raises the first failure after that."""
        batch = [waiting[place] for place in range(min(len(waiting), self._batch))]
        with send_span(f"{self._log.store.service}.events", [event.metadata.traceparent for event in batch]):
            answers = await self._bus.publish(self.subscription, batch)
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
