"""Event to one subscription: its own cursor over the log, so that no consumer ever holds back, or hides, another.

A late subscriber is a cursor that stands at 0; one whose backlog is over its limit is a cursor that stands still; a
takeover is another process at the same cursor. All of them are the same path.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress

import structlog

from sagakit import crash_points
from sagakit.backlog import Backlog
from sagakit.cancelling import is_cancelled
from sagakit.cursor import Cursor
from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, Subscription
from sagakit.repartition import exchanged
from sagakit.replaying import Replaying
from sagakit.shared_log import SharedLog
from sagakit.sql import feeding, subscriptions
from sagakit.telemetry import is_traced, send_span
from sagakit.unsent import Unsent, as_infrastructure

_log = structlog.get_logger("sagakit.feed")
_STANDBY_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_TROUBLE_SECONDS = 5.0
_LIVE_FOR_EACH_REPLAYED = 4  # batches, while both have something to send


class Feed:
    """The loop of one subscription.

    Delivery: at least once; an event's id is the message id, so the consumer recognises a repetition. Ordering: log order, so
    stream order. The checkpoint moves over the contiguous confirmed prefix, fenced by the epoch of the lease (I8, B10).
    """

    def __init__(
        self, subscription: Subscription, log: SharedLog, leader: Leader, bus: Bus, batch: int, poll_seconds: float
    ) -> None:
        """Take whom it feeds, the log, the lease on the cursor, and the bus; ``batch`` events are in flight at most."""
        self.subscription, self._log, self._leader, self._bus = subscription, log, leader, bus
        self._batch, self._poll_seconds = batch, poll_seconds
        self._backlog, self._unsent = Backlog(subscription, leader, bus), Unsent(subscription, leader, bus)
        self._replaying: Replaying | None = None
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._look_at = 0.0
        self._failing_since: float | None = None

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopped.set()
        self._wake.set()

    @property
    def is_stopping(self) -> bool:
        """True once it was told to stop."""
        return self._stopped.is_set()

    async def run(self) -> None:
        """Publish until stopped; trouble with the store or the bus is waited out. Raises `LogWentBack`."""
        self._log.wake(self._wake)
        try:
            await self._keep_leading()
        finally:
            self._log.let_sleep(self._wake)
        with suppress(InfrastructureError):  # it ends by itself
            await self._leader.release()

    async def _keep_leading(self) -> None:
        pause = self._poll_seconds
        while not self.is_stopping:
            rest = _STANDBY_SECONDS
            try:
                if await self._leader.take():
                    await self._lead()
                pause = self._poll_seconds
            except LeaseLost as error:
                _log.warning("lost the lease", consumer=self.subscription.consumer, reason=str(error))
            except InfrastructureError as error:
                rest = pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                await self.complain(str(error))
            except asyncio.CancelledError:
                # A driver cancels what waits on its dead connection; that is no wish of ours to stop (failures B7).
                if is_cancelled():
                    raise
                rest = pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                await self.complain("the driver cancelled what waited for the broker or the database")
            await self.pause(rest)

    async def pause(self, seconds: float) -> None:
        """Wait, but not when it is to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    async def _rest(self) -> None:
        """Wait for a commit, a little."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_seconds)
            self._wake.clear()

    async def complain(self, trouble: str) -> None:
        """Log that nothing reaches the consumer, and record why once that has lasted."""
        _log.warning("waiting", consumer=self.subscription.consumer, reason=trouble)
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        elif now > self._failing_since + _TROUBLE_SECONDS:
            await self._note_trouble(trouble)

    async def _note_trouble(self, trouble: str | None) -> None:
        with suppress(InfrastructureError):  # the database may be the trouble
            async with self._leader.tables.transaction() as session:
                await subscriptions.note_trouble(session, self.subscription.consumer, trouble)

    async def _lead(self) -> None:
        await self._bus.declare([self.subscription])
        if not await exchanged(self._leader, self._bus, self.subscription):
            return  # its former queues are not empty yet: looked at again soon
        cursor = Cursor(self._log, self._leader, self.subscription.event_types)
        await cursor.open()
        self._replaying, self._look_at = None, 0.0
        try:
            await self._follow(cursor)
            await cursor.settle()
        finally:
            await cursor.close()

    async def _follow(self, cursor: Cursor) -> None:
        batches = 0
        while not self.is_stopping:
            await cursor.mark()
            await self._look(cursor)
            if self._backlog.is_detached:
                await self.pause(self._poll_seconds)
                continue
            await cursor.read(self._batch)
            if is_live := bool(cursor.waiting):
                await self._publish(cursor)
                batches += 1
            self._failing_since = None
            if self._replaying is not None and (not is_live or batches % _LIVE_FOR_EACH_REPLAYED == 0):
                await self._replay(cursor, self._replaying)
            elif not is_live:
                await cursor.mark()
                await self._rest()

    async def _look(self, cursor: Cursor) -> None:
        """Look up, once a second, what waits on the bus and what people asked for."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        is_first, self._look_at = not self._look_at, now + _LOOK_SECONDS
        async with self._leader.tables.transaction() as session:
            orders = await feeding.orders(session, self.subscription.consumer)
        self._unsent.streams = orders.held
        if is_first and orders.subscription is not None:
            self._backlog.remember(orders.subscription.detached_at)
        if orders.replay is not None and (self._replaying is None or self._replaying.id != orders.replay.id):
            self._replaying = Replaying(orders.replay, self.subscription, self._log, self._leader, self._bus)
        await cursor.settle()
        await self._backlog.look()
        if orders.subscription is not None and orders.subscription.trouble and self._failing_since is None:
            await self._note_trouble(None)
        if not self._backlog.is_detached:
            await self._unsent.try_again(orders.due)

    async def _publish(self, cursor: Cursor) -> None:
        """Publish what waits, and take what is done with off it. Raises the first failure after that."""
        if not self._leader.is_certain:  # this process may have slept while another led
            await cursor.settle()
            await self._leader.renew()
        batch, held = cursor.next(self._batch), self._unsent.streams
        sent = [event for event in batch if event.stream not in held] if held else batch
        crash_points.reached(crash_points.FEED_READ)
        answers = await self._hand_over(sent)
        crash_points.reached(crash_points.FEED_CONFIRMED)
        if len(sent) == len(batch) and not any(answers):
            cursor.passed(len(batch))
            return
        by_position = dict(zip([event.position for event in sent], answers, strict=True))
        judgement = self._unsent.judge(batch, by_position)
        if judgement.aside:
            await cursor.settle()
            await self._unsent.set_aside(judgement)
        cursor.passed(judgement.done)
        if judgement.failure is not None:
            await cursor.settle()
            raise as_infrastructure(judgement.failure)

    async def _hand_over(self, events: list[RecordedEvent]) -> list[Exception | None]:
        if not events:
            return []
        name = f"{self._log.store.service}.events"
        with send_span(name, events) if is_traced() else nullcontext():
            return await self._bus.publish(self.subscription, events)

    async def _replay(self, cursor: Cursor, replaying: Replaying) -> None:
        await cursor.settle()
        if await replaying.step(self._unsent.streams, self._batch):
            self._replaying, self._look_at = None, 0.0
        elif not cursor.waiting:
            await asyncio.sleep(0)
