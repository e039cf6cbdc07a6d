"""Events through a bus as a feed sends them and a consumer with an inbox takes them; counts what was lost, late or twice."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sagakit.errors import InfrastructureError
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, Subscription
from tests.support.shop import added
from tests.support.waiting import until


def new_subscription(partitions: int = 1) -> Subscription:
    name = f"p{uuid.uuid4().hex[:8]}"
    return Subscription(f"{name}.consumer", name, frozenset({"counter.added"}), partitions)


def make_event(producer: str, stream: str, version: int, position: int) -> RecordedEvent:
    return RecordedEvent.of(
        added(1), service=producer, stream=stream, version=version, position=position, recorded_at=datetime.now(UTC)
    )


class Sender:
    """Like a feed: in order, and again from the first that failed; declares again before it goes on."""

    def __init__(self, bus: Bus, subscription: Subscription, streams: int = 20, batch: int = 40) -> None:
        self._bus, self.subscription, self._streams, self._batch = bus, subscription, streams, batch
        self.confirmed: list[RecordedEvent] = []
        self.failures: list[str] = []
        self._waiting: list[RecordedEvent] = []
        self._made = 0
        self._is_stopping = False

    def _more(self) -> RecordedEvent:
        place, self._made = self._made, self._made + 1
        producer, stream = self.subscription.producer, f"counter-{place % self._streams}"
        return make_event(producer, stream, place // self._streams + 1, self._made)

    async def run(self) -> None:
        while self._waiting or not self._is_stopping:
            if not self._is_stopping:
                self._waiting += [self._more() for _ in range(self._batch - len(self._waiting))]
            try:
                await self._send()
                await asyncio.sleep(0.005)
            except InfrastructureError as error:
                self.failures.append(str(error))
                await asyncio.sleep(0.2)
                await self._declare()

    async def _send(self) -> None:
        answers = await self._bus.publish(self.subscription, self._waiting)
        taken = next((place for place, answer in enumerate(answers) if answer is not None), len(answers))
        self.confirmed += self._waiting[:taken]
        del self._waiting[:taken]
        if taken < len(answers):
            raise answers[taken] or AssertionError

    async def _declare(self) -> None:
        try:
            await self._bus.declare([self.subscription])
        except InfrastructureError as error:
            self.failures.append(str(error))

    def stop(self) -> None:
        self._is_stopping = True

    async def send_again(self) -> None:
        """Send all of it once more, as `replay` does, and as often as it takes; only once it has stopped."""
        self._waiting, self.confirmed = self.confirmed, []
        await asyncio.wait_for(self.run(), 60)

    async def goes_on(self, more: int = 100, seconds: float = 10) -> None:
        """Wait until so many more are confirmed."""
        goal = len(self.confirmed) + more
        await until(lambda: len(self.confirmed) >= goal, f"{more} more confirmed events", seconds)


class Receiver:
    """Like a consumer with an inbox: an id takes effect once; what takes effect has to be next in its stream."""

    def __init__(self, seconds: float = 0) -> None:
        self.copies: Counter[uuid.UUID] = Counter()
        self.versions: dict[str, int] = {}
        self.out_of_order: list[str] = []
        self._seconds = seconds
        self._may_go_on, self._is_held = asyncio.Event(), asyncio.Event()
        self._may_go_on.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Run a block while a handler has events in hand, and goes on behind it."""
        self._is_held.clear()
        self._may_go_on.clear()
        try:
            await asyncio.wait_for(self._is_held.wait(), 10)
            yield
        finally:
            self._may_go_on.set()

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        self._is_held.set()
        await self._may_go_on.wait()
        for event in events:
            if self._seconds:
                await asyncio.sleep(self._seconds)
            self.copies[event.id] += 1
            if self.copies[event.id] > 1:
                continue
            last = self.versions.get(event.stream, 0)
            if event.version != last + 1:
                self.out_of_order.append(f"{event.stream}: {event.version} after {last}")
            self.versions[event.stream] = max(last, event.version)

    def forget(self) -> None:
        self.copies.clear()
        self.versions.clear()
        self.out_of_order.clear()

    def has_all(self, events: Sequence[RecordedEvent]) -> bool:
        return all(event.id in self.copies for event in events)


@asynccontextmanager
async def sending(sender: Sender) -> AsyncIterator[Sender]:
    """Send until the end of the block, and then what is left."""
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        sender.stop()
        await asyncio.wait_for(task, 60)


async def nothing_is_lost(sender: Sender, receiver: Receiver, copies: int | None = 3) -> None:
    """Every confirmed event took effect, in order; none was published more often than that."""
    await until(lambda: receiver.has_all(sender.confirmed), "all confirmed events to arrive", 30)
    assert receiver.out_of_order == []
    most = max(receiver.copies.values())
    print(f"{len(sender.confirmed)} events, 0 lost, 0 out of order, at most {most} copies, {len(sender.failures)} failures")
    if copies is not None:
        assert most <= copies
