"""Event to bus: keeps one feed at work for each subscription that its service has recorded.

What is recorded while it runs is fed from then on; a producer neither knows its consumers nor restarts for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from sagakit.errors import InfrastructureError, LogWentBack
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.ports import Bus, EventStore, ReadModels, Subscription
from sagakit.shared_log import SharedLog
from sagakit.sql import subscriptions

_log = structlog.get_logger("sagakit.relay")
_LOOK_SECONDS = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
Lead = Callable[[str], Leader]


class Relay:
    """The loop of one service. Several processes may run it: each subscription has one leader at a time."""

    def __init__(self, store: EventStore, tables: ReadModels, lead: Lead, bus: Bus, batch: int, poll_seconds: float) -> None:
        """Take the log and where subscriptions are recorded; ``lead`` makes the lease on a named checkpoint."""
        self._shared, self._service, self._tables, self._lead, self._bus = SharedLog(store), store.service, tables, lead, bus
        self._batch, self._poll_seconds = batch, poll_seconds
        self._feeds: dict[Subscription, tuple[Feed, asyncio.Task[None]]] = {}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End after the batches in hand."""
        self._stopped.set()

    async def run(self) -> None:
        """Feed until stopped; trouble with the store or the bus is waited out. Raises `LogWentBack`."""
        try:
            while not self._stopped.is_set():
                try:
                    await self._look()
                except InfrastructureError as error:
                    _log.warning("waiting", service=self._service, reason=str(error))
                await self._wait()
        finally:
            await self._end(list(self._feeds))

    async def _look(self) -> None:
        """Begin to feed who is new, and leave whom nothing is owed any more."""
        async with self._tables.transaction() as session:
            wanted = {subscriptions.of_row(row, self._service) for row in await subscriptions.recorded(session)}
        await self._end([subscription for subscription in self._feeds if subscription not in wanted])
        for subscription in wanted - self._feeds.keys():
            leader = self._lead(subscriptions.checkpoint_of(subscription.consumer))
            feed = Feed(subscription, self._shared, leader, self._bus, self._batch, self._poll_seconds)
            self._feeds[subscription] = (feed, asyncio.create_task(_kept_alive(feed), name=f"feed {subscription.consumer}"))

    async def _wait(self) -> None:
        stopping = asyncio.create_task(self._stopped.wait())
        tasks = [task for _, task in self._feeds.values()]
        done, _ = await asyncio.wait([stopping, *tasks], timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            await task  # raises: a feed ends by itself only when its log went back

    async def _end(self, subscriptions_: list[Subscription]) -> None:
        ended = [self._feeds.pop(subscription) for subscription in subscriptions_]
        for feed, _ in ended:
            feed.stop()
        await asyncio.gather(*(task for _, task in ended), return_exceptions=True)


async def _kept_alive(feed: Feed) -> None:
    """Run a feed; begin again, with a growing pause, when it dies of what nobody expected. Raises `LogWentBack`."""
    pause = _FIRST_PAUSE_SECONDS
    while not feed.is_stopping:
        began = asyncio.get_running_loop().time()
        try:
            await feed.run()
        except LogWentBack:
            raise
        except Exception as error:  # noqa: BLE001 whatever it was, nobody else will feed this consumer
            _log.exception("a feed died and is begun again", consumer=feed.subscription.consumer)
            await feed.complain(f"{type(error).__name__}: {error}")
            lived = asyncio.get_running_loop().time() - began
            pause = _FIRST_PAUSE_SECONDS if lived > _LONGEST_PAUSE_SECONDS else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await feed.pause(pause)
