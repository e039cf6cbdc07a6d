"""A subscription that is recorded while everything runs catches up from the log and goes over to live (G2, G3, G5)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from sagakit.consumer import Consumer
from sagakit.leadership import Leader
from sagakit.memory.bus import MemoryBus
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Bus, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.sql import subscriptions
from sagakit.system import OpenService
from tests.support.feeding import append, record, running
from tests.support.shop import added
from tests.support.waiting import until


@pytest.fixture(params=["memory", "rabbitmq"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    rabbit = RabbitBus(request.getfixturevalue("rabbitmq_url"), 5, 50)
    await rabbit.open()
    yield rabbit
    await rabbit.close()


def _relay(counting: OpenService, bus: Bus) -> Relay:
    def lead(name: str) -> Leader:
        return Leader(counting.tables, name, "one", 30)

    return Relay(counting.store, counting.tables, lead, bus, 20, 0.02)


async def test_it_catches_up_and_goes_over_to_live_without_gap_inversion_or_double_effect_g5(
    counting: OpenService, bus: Bus
) -> None:
    effects: list[RecordedEvent] = []
    done = asyncio.Event()

    async def effect(_session: object, event: RecordedEvent) -> None:
        effects.append(event)

    async def write(stream: int) -> int:
        version = 100
        while not done.is_set():
            await counting.store.append(Append(f"counter-{stream}", version, (added(),)))
            version += 1
        return version

    await append(counting, 3, 100)
    name = f"late{uuid.uuid4().hex[:8]}"
    late = Subscription(name, "counting", frozenset({"counter.added"}), 1, 1_000_000)
    consumer = Consumer(name, counting.tables, 3, effect=effect)
    await bus.declare([late])
    stop = await bus.consume(late, consumer.handle)
    async with running(_relay(counting, bus)):
        writing = [asyncio.create_task(write(stream)) for stream in range(3)]
        try:
            await record(counting, late)  # the relay runs, the writers are at work
            await until(lambda: any(event.version > 110 for event in effects), "the live events", 60)
        finally:
            done.set()
        versions = await asyncio.gather(*writing)
        await until(lambda: len(effects) >= sum(versions), "everything", 60)
    await stop()
    for stream, last in enumerate(versions):
        assert [e.version for e in effects if e.stream == f"counter-{stream}"] == list(range(1, last + 1))


async def test_it_may_begin_at_a_position_g2(counting: OpenService) -> None:
    log, bus, name = await append(counting, 1, 6), MemoryBus(), "late"
    late, seen = Subscription(name, "counting", frozenset({"counter.added"})), list[RecordedEvent]()

    async def handle(events: Sequence[RecordedEvent]) -> None:
        seen.extend(events)

    await bus.consume(late, handle)
    async with running(_relay(counting, bus)):
        async with counting.tables.transaction() as session:
            await subscriptions.record(session, late, is_external=True)
            await subscriptions.begin_at(session, name, log[3].position)
        await until(lambda: len(seen) == 2, "what lies behind it")
        log = await append(counting, 1, 1, before=6)
        await until(lambda: len(seen) == 3, "the live one")
    assert [event.version for event in seen] == [5, 6, 7]
