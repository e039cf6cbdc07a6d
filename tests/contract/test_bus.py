"""What every bus promises: at least once, in order per stream, nothing confirmed that is not safe (G3)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest

from sagakit.memory.bus import MemoryBus
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from tests.support.shop import added


@pytest.fixture(params=["memory", "aio-pika", "batched"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    rabbit = RabbitBus(request.getfixturevalue("rabbitmq_url"), 5, 50, publishing=request.param)
    await rabbit.open()
    yield rabbit
    await rabbit.close()


@pytest.fixture
def producer() -> str:
    return f"p{uuid.uuid4().hex[:8]}"


def _event(producer: str, stream: str, version: int, position: int) -> RecordedEvent:
    return RecordedEvent.of(
        added(version),
        service=producer,
        stream=stream,
        version=version,
        position=position,
        recorded_at=datetime.now(UTC),
    )


def _subscription(producer: str) -> Subscription:
    return Subscription(f"{producer}.consumer", producer, frozenset({"counter.added"}))


async def test_every_event_arrives_whole_and_in_stream_order_g3(bus: Bus, producer: str) -> None:
    subscription = _subscription(producer)
    await bus.declare([subscription])
    events = [_event(producer, f"counter-{n % 5}", n // 5 + 1, n + 1) for n in range(100)]
    seen: list[RecordedEvent] = []
    everything = asyncio.Event()

    async def handle(given: Sequence[RecordedEvent]) -> None:
        await asyncio.sleep(0.001 * (given[0].position % 3))
        seen.extend(given)
        if len(seen) == 100:
            everything.set()

    stop = await bus.consume(subscription, handle)
    assert await bus.publish(subscription, events) == [None] * 100
    await asyncio.wait_for(everything.wait(), 20)
    await stop()
    assert sorted(seen, key=lambda event: event.position) == events
    for n in range(5):
        assert [event.version for event in seen if event.stream == f"counter-{n}"] == list(range(1, 21))


async def test_an_event_whose_handling_failed_is_not_lost_g3(bus: Bus, producer: str) -> None:
    subscription = _subscription(producer)
    await bus.declare([subscription])
    event, attempts, handled = _event(producer, "counter-a", 1, 1), [], asyncio.Event()

    async def handle(given: Sequence[RecordedEvent]) -> None:
        attempts.append(given[0].id)
        if len(attempts) == 1:
            raise OSError("the database is away")
        handled.set()

    stop = await bus.consume(subscription, handle)
    if (await bus.publish(subscription, [event]))[0] is not None:
        assert await bus.publish(subscription, [event]) == [None]  # the relay's part: what is not confirmed is sent again
    # Behind a broker it is tried again in its place, ahead of later events of its stream.
    await asyncio.wait_for(handled.wait(), 20)
    await stop()
    assert attempts == [event.id, event.id]


async def test_declaring_again_changes_nothing(bus: Bus, producer: str) -> None:
    await bus.declare([_subscription(producer)])
    await bus.declare([_subscription(producer)])
