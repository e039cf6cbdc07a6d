"""Queues by stream: order with scale-out, and another number of queues under load without a loss (G3, failures B10, C9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from sagakit.errors import LeaseLost, WrongSettings
from sagakit.leadership import Leader
from sagakit.ports import Append, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.declaring import message_count
from sagakit.rabbitmq.topology import layout_of
from sagakit.relay import Relay
from sagakit.repartition import consume_all, exchanged, partitioned
from sagakit.settings import load_settings
from sagakit.sql import subscriptions
from sagakit.sql.tables import ConsumerRow, SubscriptionRow
from sagakit.system import OpenService
from tests.support.bus_load import Receiver, Sender, make_event, new_subscription, nothing_is_lost, sending
from tests.support.shop import added
from tests.support.waiting import until

MakeBus = Callable[[], RabbitBus]


@pytest.fixture
async def make_bus(rabbitmq_url: str) -> AsyncIterator[MakeBus]:
    made: list[RabbitBus] = []

    def make() -> RabbitBus:
        made.append(RabbitBus(rabbitmq_url, 5, 20))
        return made[-1]

    yield make
    await asyncio.gather(*(bus.close() for bus in made))


@pytest.fixture
async def operator(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(rabbitmq_url)
    yield await connection.channel()
    await connection.close()


async def test_four_consumers_of_eight_partitions_keep_the_order_and_take_over_from_one_that_dies_g3(make_bus: MakeBus) -> None:
    subscription, sender_bus = new_subscription(partitions=8), make_bus()
    await sender_bus.declare([subscription])
    shared, by_consumer = Receiver(), [Receiver(0.001) for _ in range(4)]
    buses = [make_bus() for _ in range(4)]
    for bus, own in zip(buses, by_consumer, strict=True):

        async def handle(events: object, own: Receiver = own) -> None:
            await own.handle(events)  # type: ignore[arg-type]
            await shared.handle(events)  # type: ignore[arg-type]

        await bus.consume(subscription, handle)
    async with sending(Sender(sender_bus, subscription, streams=60)) as sender:
        await sender.goes_on(300)
        await until(lambda: all(own.copies for own in by_consumer), "every process to have its share of the queues", 30)
        # The first dies with work in hand: its connection ends without a goodbye.
        buses[0]._consuming._connection.transport.connection._writer_task.cancel()  # type: ignore[union-attr]
        await buses[0].close()
        await sender.goes_on(300)
    await nothing_is_lost(sender, shared, copies=None)
    print("events per process", [len(own.copies) for own in by_consumer])


@pytest.mark.parametrize("numbers", [(2, 8), (3, 1)])
async def test_queues_are_exchanged_under_load_and_nothing_is_lost_g3(
    make_bus: MakeBus, operator: AbstractChannel, counting: OpenService, numbers: tuple[int, int]
) -> None:
    """The relay, the feed and the tables are real; the consumer reads old and new queues, and starts anew in between."""
    former, now = numbers
    wanted, relay_bus = replace(new_subscription(former), producer="counting"), make_bus()
    receiver = Receiver(0.0005)
    await relay_bus.declare([wanted])
    stops = await consume_all(make_bus(), counting.tables, [wanted], receiver.handle)
    await _record(counting, wanted)
    relay = Relay(counting.store, counting.tables, lambda name: Leader(counting.tables, name, "one", 30), relay_bus, 50, 0.02)
    running, writing = asyncio.create_task(relay.run()), asyncio.create_task(_write(counting, streams=10, versions=40))
    await until(lambda: len(receiver.copies) >= 60, "events by the old queues")

    await asyncio.gather(*(stop() for stop in stops))  # the consumer is deployed anew, with its new number
    renewed = replace(wanted, partitions=now)
    await relay_bus.declare([renewed])
    stops = await consume_all(make_bus(), counting.tables, [renewed], receiver.handle)
    await _record(counting, renewed)  # and so is the producer

    await until(lambda: _row_is(counting, wanted.consumer, now), "the exchange to be recorded as done")
    await until(lambda: _consumer_reads(counting, wanted.consumer, [now]), "the consumer to read the new queues alone")
    await writing
    await until(lambda: len(receiver.copies) == 400, "all events", 30)
    assert receiver.out_of_order == []
    assert set(receiver.versions.values()) == {40}
    old = layout_of(wanted.consumer, former)
    assert [await message_count(relay_bus._asking, name) for name in old.queues] == [None] * former
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await operator.declare_exchange(old.exchange, passive=True)
    relay.stop()
    await running
    await asyncio.gather(*(stop() for stop in stops))
    print(f"{former} to {now} partitions: 400 events, most copies {max(receiver.copies.values())}")


async def _record(counting: OpenService, subscription: Subscription) -> None:
    async with counting.tables.transaction() as session:
        await subscriptions.record(session, subscription)


async def _write(counting: OpenService, streams: int, versions: int) -> None:
    for version in range(versions):
        for stream in range(streams):
            await counting.store.append(Append(f"counter-{stream}", version, (added(),)))
        await asyncio.sleep(0.01)


async def _row_is(counting: OpenService, consumer: str, partitions: int) -> bool:
    async with counting.tables.transaction() as session:
        row = await session.get(SubscriptionRow, consumer)
        return row is not None and (row.partitions, row.former_partitions) == (partitions, None)


async def _consumer_reads(counting: OpenService, consumer: str, partitions: list[int]) -> bool:
    async with counting.tables.transaction() as session:
        row = await session.get(ConsumerRow, consumer)
        return row is not None and row.partitions == partitions


async def _begin_exchange(bus: RabbitBus) -> tuple[Subscription, Subscription]:
    """Leave ten events in each of the two old queues, if the hash gives them some."""
    old = new_subscription(partitions=2)
    new = replace(old, partitions=3, former_partitions=2)
    await bus.declare([old, new])
    events = [make_event(old.producer, f"counter-{n % 10}", n // 10 + 1, n + 1) for n in range(20)]
    assert await bus.publish(old, events) == [None] * 20
    return old, new


async def test_an_exchange_is_resumed_by_another_producer_and_another_consumer_wherever_they_died_g3(make_bus: MakeBus) -> None:
    bus = make_bus()
    old, new = await _begin_exchange(bus)
    assert not await bus.retire(new, 2)
    assert not await make_bus().retire(new, 2)  # the next leader sends the markers once more
    gone = asyncio.Event()

    async def retired() -> None:
        gone.set()

    begun, first, receiver = asyncio.Event(), make_bus(), Receiver()

    async def never(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    await first.consume(old, never, retired=retired)
    await begun.wait()
    await first.close()  # dies with the work, and the markers, in hand
    assert not await bus.retire(new, 2)
    stop = await make_bus().consume(old, receiver.handle, retired=retired)
    await asyncio.wait_for(gone.wait(), 20)
    await stop()
    assert len(receiver.copies) == 20
    assert receiver.out_of_order == []
    assert await bus.retire(new, 2)
    assert await make_bus().retire(new, 2)  # died before it was recorded: asked again
    gone.clear()
    await (await make_bus().consume(old, receiver.handle, retired=retired))()
    await until(gone.is_set, "a consumer that starts after the end to hear of it")


async def test_queues_go_only_when_each_of_their_producers_has_said_so_g3(make_bus: MakeBus) -> None:
    """Else what the slower one still sends there, confirmed, would go with them."""
    bus, receiver, gone = make_bus(), Receiver(), asyncio.Event()
    old, new = await _begin_exchange(bus)
    other = replace(new, producer="other")

    async def retired() -> None:
        gone.set()

    await bus.consume(old, receiver.handle, retired=retired, producers=frozenset({old.producer, "other"}))
    assert not await bus.retire(new, 2)
    await until(lambda: len(receiver.copies) == 20, "all events")
    late = make_event("other", "letter-1", 1, 1)
    assert await bus.publish(old, [late]) == [None]
    await until(lambda: receiver.has_all([late]), "an event behind the first producer's marker")
    assert not await bus.retire(new, 2)
    assert not await bus.retire(other, 2)
    await asyncio.wait_for(gone.wait(), 20)
    assert await bus.retire(new, 2)
    assert await bus.retire(other, 2)


async def test_a_leader_that_was_replaced_does_not_end_an_exchange_b10(make_bus: MakeBus, counting: OpenService) -> None:
    bus = make_bus()
    new = replace(new_subscription(3), producer="counting", former_partitions=2)
    await _record(counting, replace(new, partitions=2, former_partitions=None))
    await _record(counting, new)
    old_leader = Leader(counting.tables, subscriptions.checkpoint_of(new.consumer), "old", 0.01)
    assert await old_leader.take()
    await asyncio.sleep(0.05)
    assert await Leader(counting.tables, subscriptions.checkpoint_of(new.consumer), "new", 30).take()
    with pytest.raises(LeaseLost):
        await exchanged(old_leader, bus, new)
    assert not await _row_is(counting, new.consumer, 3)


def test_a_number_for_a_consumer_that_nobody_is_is_an_error_at_start() -> None:
    known = Subscription("reporting.projection.sales", "orders", frozenset({"order.placed"}))
    assert partitioned([known], {known.consumer: 8}) == [replace(known, partitions=8)]
    assert partitioned([known], {}) == [known]
    with pytest.raises(WrongSettings, match=r"reporting\.sales.*known: reporting\.projection\.sales"):
        partitioned([known], {"reporting.sales": 8})


@pytest.mark.parametrize("value", ['{"c": 0}', '{"c": 65}', '{"c": "many"}', "8"])
def test_a_number_out_of_bounds_is_an_error_at_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAKIT_PARTITIONS", value)
    with pytest.raises(WrongSettings, match="SAGAKIT_PARTITIONS"):
        load_settings()


def test_where_a_stream_goes_is_a_matter_of_its_name_alone_g3() -> None:
    """Whoever publishes to partitions in another language computes the same; changing it would split streams over two queues."""
    laid_out = layout_of("c", 8)
    streams = ("counter-1", "counter-2", "order-1017", "café-ü")
    assert [laid_out.routing_key(stream, "a.b") for stream in streams] == [f"partition:{number}" for number in (3, 1, 5, 2)]
    keys = {laid_out.routing_key(f"counter-{number}", "a.b") for number in range(200)}
    assert keys == {key for _, key in laid_out.bindings}
    assert layout_of("c", 1).routing_key("counter-1", "a.b") == "a.b"
