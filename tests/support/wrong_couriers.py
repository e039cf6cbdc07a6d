"""Ways to deliver that look right and are not: planted defects, which the scenario of delivery must catch (failures B, C).

They are kept so that the test of the right way can fail; nothing else may use them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar
from weakref import WeakKeyDictionary

from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import BusUnavailable, InfrastructureError
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, EventStore, Handle, ReadModels, Subscription
from sagakit.sql.tables import CheckpointRow
from tests.support.couriers import CourierBus, Fault

BATCH = 7
Effect = Callable[[AsyncSession, RecordedEvent], Awaitable[None]]


class SmallFeed:
    """A feed as short as can be, with nothing wrong in it: what the wrong ones change, they change of this."""

    def __init__(self, subscription: Subscription, store: EventStore, tables: ReadModels, leader: Leader, bus: Bus) -> None:
        self._subscription, self.store, self.tables, self.leader, self._bus = subscription, store, tables, leader, bus

    async def run(self) -> None:
        while True:
            try:
                if await self.leader.take():
                    await self.lead()
            except InfrastructureError:
                pass
            await asyncio.sleep(0.02)

    async def lead(self) -> None:
        reader = self.store.reader(self.leader.position)
        while True:
            await self.leader.renew()
            if page := await reader.read(BATCH):
                await self.send(page)
            else:
                await asyncio.sleep(0.02)

    async def send(self, page: Sequence[RecordedEvent]) -> None:
        confirmed = await self.publish(page)
        if confirmed:
            await self.mark(page[confirmed - 1])
        if confirmed < len(page):
            raise BusUnavailable("not all were confirmed")

    async def publish(self, page: Sequence[RecordedEvent]) -> int:
        answers = await self._bus.publish(self._subscription, page)
        return next((place for place, answer in enumerate(answers) if answer is not None), len(answers))

    async def mark(self, event: RecordedEvent) -> None:
        await self.leader.advance(event.position)


class MarkBeforeConfirm(SmallFeed):
    """Moves the checkpoint, then publishes: what is not confirmed after that is never sent again (B1 turned round)."""

    async def send(self, page: Sequence[RecordedEvent]) -> None:
        await self.mark(page[-1])
        await self.publish(page)


class NoFence(SmallFeed):
    """Believes in its lease until it looks again, and marks whatever the epoch is: a stopped leader wakes and marks (B10)."""

    async def mark(self, event: RecordedEvent) -> None:
        async with self.tables.transaction() as session:
            statement = update(CheckpointRow).where(col(CheckpointRow.name) == "subscription c").values(position=event.position)
            await session.exec(statement)
        self.leader.position = event.position


class SkipLocked(SmallFeed):
    """Several workers each take rows that no other has in hand: later rows of a stream overtake earlier ones (B2)."""

    WORKERS, ROWS = 3, 3

    async def lead(self) -> None:
        self._claimed: set[int] = set()
        await asyncio.gather(*(self._work() for _ in range(self.WORKERS)))

    async def _work(self) -> None:
        while True:
            rows = [event for event in await self._unsent() if event.position not in self._claimed][: self.ROWS]
            self._claimed.update(event.position for event in rows)
            confirmed = await self.publish(rows) if rows else 0
            self._sent.update(event.position for event in rows[:confirmed])
            self._claimed.difference_update(event.position for event in rows)
            await asyncio.sleep(0.005)

    async def _unsent(self) -> list[RecordedEvent]:
        reader = self.store.reader(0)
        found: list[RecordedEvent] = []
        while page := await reader.read(500):
            found += page
        return [event for event in found if event.position not in self._sent]

    @property
    def _sent(self) -> set[int]:
        """The positions marked as sent: stands for a column of the table, which outlives a worker."""
        return self._marked.setdefault(self.store, set())

    _marked: ClassVar[WeakKeyDictionary[EventStore, set[int]]] = WeakKeyDictionary()


class NoReturnCheck(CourierBus):
    """Takes every answer for a success: aio-pika answers for a message that nobody took, and raises nothing (B4)."""

    async def publish_one(self, event: RecordedEvent, fault: Fault | None) -> Exception | None:
        answer = await super().publish_one(event, fault)
        return None if fault == "returned" else answer


class CancelSwallowed(CourierBus):
    """Passes over a cancellation that a dying connection caused, as if nothing had happened (B7)."""

    async def publish_one(self, event: RecordedEvent, fault: Fault | None) -> Exception | None:
        try:
            await self.broker.publish(event, fault)
        except asyncio.CancelledError:
            return None
        except OSError as error:
            return BusUnavailable(str(error))
        return None if fault is None else BusUnavailable("it came back")


class AckBeforeCommit(CourierBus):
    """Acknowledges what it was given, then handles it: a consumer that dies in between has lost it (C1 turned round)."""

    async def deliver(self, handle: Handle) -> None:
        while True:
            if batch := self.broker.take():
                self.broker.acknowledge(len(batch))
                await handle(batch)
            else:
                await asyncio.sleep(0.005)


class NoInbox:
    """Has its effect each time (C1)."""

    def __init__(self, tables: ReadModels, effect: Effect) -> None:
        self._tables, self._effect = tables, effect

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            async with self._tables.transaction() as session:
                await self._effect(session, event)
