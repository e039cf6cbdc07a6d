"""Keeps what waits for one consumer on the bus near its limit; what it cannot take yet waits in the log instead (isolation)."""

from __future__ import annotations

import asyncio

import structlog

from sagakit.leadership import Leader
from sagakit.ports import Bus, Subscription
from sagakit.sql import feeding
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.feed")
_LOOK_SECONDS = 1.0


class Backlog:
    """The limit of one subscription.

    Over it the consumer is detached: nothing more is published to it until less than half of the limit waits. Since the
    bus is asked once a second, it may be passed by what is published in a second.
    """

    def __init__(self, subscription: Subscription, leader: Leader, bus: Bus) -> None:
        """Take whose backlog, the feed's lease, and the bus."""
        self._subscription, self._leader, self._bus = subscription, leader, bus
        self.is_detached = False
        self._look_at = 0.0

    def remember(self, detached_at: int | None) -> None:
        """Take over how it was left."""
        self.is_detached = detached_at is not None

    async def look(self) -> None:
        """Ask the bus what waits, at most once a second, and note it when that changes something. Raises `BusUnavailable`."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        waiting, limit = await self._bus.backlog(self._subscription), self._subscription.backlog_limit
        if self.is_detached and waiting <= limit // 2:
            await self._note(None)
            _log.warning("attached again", consumer=self._subscription.consumer, waiting=waiting)
        elif not self.is_detached and waiting > limit:
            await self._note(self._leader.position)
            count("sagakit.subscriptions.detached", consumer=self._subscription.consumer)
            _log.warning("detached", consumer=self._subscription.consumer, waiting=waiting, limit=limit)

    async def _note(self, position: int | None) -> None:
        async with self._leader.transaction() as session:
            await feeding.note_detached(session, self._subscription.consumer, position)
            await self._leader.advance_within(session, self._leader.position)
        self.is_detached = position is not None
