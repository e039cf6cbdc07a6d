"""A broker that goes wrong as RabbitMQ and its client were seen to (failures B4, B5, B7, B9, C1), and the right way to use it.

Its faults are drawn from a deck that is shuffled by the seed, so that each kind comes in every run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Literal

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.cancelling import is_cancelled
from sagakit.errors import BusUnavailable
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, ReadModels, Subscription

Fault = Literal["returned", "cancelled", "cancelled but stored", "lost"]
FAULTS: tuple[Fault, ...] = ("returned", "cancelled", "cancelled but stored", "lost", "returned", "cancelled")
_IN_HAND = 12


class Broker:
    """One queue, what arrived in it in which order, and the faults to come."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._faults = list(FAULTS)  # each comes while there is much to send
        chance.shuffle(self._faults)
        self._deaths = [True, False, True, False, False]
        chance.shuffle(self._deaths)
        self.queue: deque[RecordedEvent] = deque()
        self.arrived: list[RecordedEvent] = []
        self.delivered: list[RecordedEvent] = []

    def link(self, length: int) -> tuple[Fault | None, int]:
        """Say what goes wrong with the next publishes of one link, and from which of them on."""
        fault = self._faults.pop() if self._faults else None
        return fault, self._chance.randrange(length)

    async def publish(self, event: RecordedEvent, fault: Fault | None) -> Literal["ack", "returned"]:
        """Answer as the client does: what comes back is no exception, and a dead connection cancels who waits for it."""
        await asyncio.sleep(self._chance.uniform(0, 0.001))
        if fault == "returned":
            return "returned"
        if fault == "lost":
            raise ConnectionError("the connection ended")
        if fault == "cancelled":
            raise asyncio.CancelledError
        self.queue.append(event)
        self.arrived.append(event)
        if fault == "cancelled but stored":
            raise asyncio.CancelledError
        return "ack"

    def take(self) -> list[RecordedEvent]:
        """Give the first events out; what is not acknowledged comes again."""
        batch = [self.queue[place] for place in range(min(len(self.queue), _IN_HAND))]
        self.delivered += batch
        return batch

    def acknowledge(self, count: int) -> None:
        for _ in range(count):
            self.queue.popleft()

    def loses_the_acknowledgement(self) -> bool:
        """Say whether the consumer dies after its commit, just before it says so."""
        return self._deaths.pop() if self._deaths else False


class Process:
    """Stands for an operating system's process that can be stopped: nothing of it reaches the outside meanwhile."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.running.set()
        self._is_to_stop = False
        self.stopped = asyncio.Event()

    def stop_at_publish(self) -> None:
        """Stop as soon as it has events in hand."""
        self._is_to_stop = True

    def publishes(self) -> None:
        """Say that it has events in hand."""
        if self._is_to_stop:
            self._is_to_stop = False
            self.running.clear()
            self.stopped.set()


class CourierBus:
    """Implements the port `Bus` over that broker, as it must be done."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self.broker, self._process = broker, process

    async def declare(self, _subscriptions: Sequence[Subscription]) -> None:
        pass

    async def publish(self, _subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        self._process.publishes()
        # A stopped process is not to be hindered by more than that.
        fault, since = self.broker.link(len(events)) if self._process.running.is_set() else (None, 0)
        answers: list[Exception | None] = []
        for place, event in enumerate(events):
            await self._process.running.wait()
            answers.append(await self.publish_one(event, fault if place >= since else None))
        return answers

    async def publish_one(self, event: RecordedEvent, fault: Fault | None) -> Exception | None:
        try:
            answer = await self.broker.publish(event, fault)
        except asyncio.CancelledError:
            if is_cancelled():
                raise  # it is us who are to stop
            return BusUnavailable("the connection ended before the confirm")
        except OSError as error:
            return BusUnavailable(str(error))
        return None if answer == "ack" else BusUnavailable("it came back")

    async def backlog(self, _subscription: Subscription) -> int:
        return len(self.broker.queue)

    async def consume(self, _subscription: Subscription, handle: Handle) -> Callable[[], Awaitable[None]]:
        task = asyncio.create_task(self.deliver(handle))

        async def kill() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        return kill

    async def deliver(self, handle: Handle) -> None:
        while True:
            if batch := self.broker.take():
                await handle(batch)
                if not self.broker.loses_the_acknowledgement():
                    self.broker.acknowledge(len(batch))
            else:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        pass


class StoppableTables:
    """Implements the port `ReadModels` over another, for a process that can be stopped."""

    def __init__(self, tables: ReadModels, process: Process) -> None:
        self._tables, self._process = tables, process

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        await self._process.running.wait()
        async with self._tables.transaction() as session:
            yield session

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncSession]:
        await self._process.running.wait()
        async with self._tables.autocommit() as session:
            yield session

    async def create(self, tables: Sequence[type]) -> None:
        await self._tables.create(tables)
