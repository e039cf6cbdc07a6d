"""A bus that notes what is published and answers as a test wants, and a feed over the counters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlmodel import select

from sagakit.errors import BusUnavailable, NotSendable
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.shared_log import SharedLog
from sagakit.sql import subscriptions
from sagakit.sql.tables import CheckpointRow, SubscriptionRow
from sagakit.system import OpenService
from tests.support.shop import added

SUBSCRIPTION = Subscription("c", "counting", frozenset({"counter.added"}), 1, 100)


class AnsweringBus:
    """Takes what is published into `taken`, but for what is too large or when it is away; answers what waits."""

    def __init__(self) -> None:
        self.taken: list[RecordedEvent] = []
        self.too_large: set[int] = set()
        self.is_away = False
        self.failures: list[BaseException] = []
        self.waiting = 0
        self.asked = self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def positions(self) -> list[int]:
        return [event.position for event in self.taken]

    async def declare(self, _subscriptions: Sequence[Subscription]) -> None:
        pass

    async def backlog(self, _subscription: Subscription) -> int:
        self.asked += 1
        return self.waiting

    async def publish(self, _subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        self.calls += 1
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.is_away:
            return [BusUnavailable("away, says the test") for _ in events]
        answers: list[Exception | None] = []
        refused: set[str] = set()
        for event in events:
            if event.stream in refused:
                answers.append(BusUnavailable("stands behind"))
            elif event.position in self.too_large:
                refused.add(event.stream)
                answers.append(NotSendable("too large, says the test"))
            else:
                self.taken.append(event)
                answers.append(None)
        return answers


def feed_of(opened: OpenService, bus: Any, subscription: Subscription = SUBSCRIPTION, batch: int = 7, lease: float = 30) -> Feed:
    leader = Leader(opened.tables, subscriptions.checkpoint_of(subscription.consumer), "one", lease)
    return Feed(subscription, SharedLog(opened.store), leader, bus, batch, 0.02)


async def record(opened: OpenService, subscription: Subscription = SUBSCRIPTION, *, is_external: bool = False) -> None:
    async with opened.tables.transaction() as session:
        await subscriptions.record(session, subscription, is_external=is_external)


async def row_of(opened: OpenService, consumer: str = "c") -> SubscriptionRow:
    async with opened.tables.transaction() as session:
        return (await session.exec(select(SubscriptionRow).where(SubscriptionRow.consumer == consumer))).one()


@asynccontextmanager
async def running(loop: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        loop.stop()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 20)


async def append(opened: OpenService, streams: int, versions: int, before: int = 0) -> list[RecordedEvent]:
    """Append to several streams in turn; return the whole log in its order."""
    for version in range(before, before + versions):
        for stream in range(streams):
            await opened.store.append(Append(f"counter-{stream}", version, (added(),)))
    log = [event for stream in range(streams) for event in await opened.store.load(f"counter-{stream}")]
    return sorted(log, key=lambda event: event.position)


async def position_of(opened: OpenService, name: str = "subscription c") -> int:
    async with opened.tables.transaction() as session:
        found = await session.exec(select(CheckpointRow.position).where(CheckpointRow.name == name))
        return found.first() or 0


def stands_at(opened: OpenService, event: RecordedEvent) -> Callable[[], Any]:
    async def stands() -> bool:
        return await position_of(opened) == event.position

    return stands
