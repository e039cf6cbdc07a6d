"""What a consumer on RabbitMQ does with what comes, and with a channel, consumer or queue that goes (failures C2, C6, C9, C10, B8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractRobustChannel
from pamqp.commands import Basic

from sagakit.messages import RecordedEvent
from sagakit.ports import Refused, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.declaring import consumer_count, message_count
from sagakit.rabbitmq.messages import to_message
from sagakit.rabbitmq.session import Arrived, Session
from sagakit.rabbitmq.topology import (
    ALLOWED_QUEUE_ARGUMENTS,
    DEAD_LETTERS,
    PLAIN_ARGUMENTS,
    QUEUE_ARGUMENTS,
    foreign_exchange,
    layout_of,
)
from tests.support.bus_load import Receiver, make_event, new_subscription
from tests.support.waiting import until


@pytest.fixture
async def bus(rabbitmq_url: str) -> AsyncIterator[RabbitBus]:
    bus = RabbitBus(rabbitmq_url, 5, 20)
    yield bus
    await bus.close()


@pytest.fixture
async def operator(rabbitmq_url: str) -> AsyncIterator[AbstractRobustChannel]:
    connection = await aio_pika.connect_robust(rabbitmq_url)
    yield await connection.channel()  # type: ignore[misc]
    await connection.close()


@pytest.fixture
async def subscription(bus: RabbitBus) -> Subscription:
    made = new_subscription()
    await bus.declare([made])
    return made


def _events(subscription: Subscription, count: int) -> list[RecordedEvent]:
    return [make_event(subscription.producer, "counter-a", n + 1, n + 1) for n in range(count)]


def _link(bus: RabbitBus) -> Any:
    return bus._consuming._connection.transport.connection  # type: ignore[union-attr]


async def test_work_of_a_dead_channel_that_was_not_begun_is_dropped_c2(bus: RabbitBus, subscription: Subscription) -> None:
    """It comes again by the new channel, and is handled then, in order: not from memory as well."""
    batches: list[list[int]] = []
    go_on = asyncio.Event()

    async def handle(events: Sequence[RecordedEvent]) -> None:
        batches.append([event.version for event in events])
        await go_on.wait()

    await bus.consume(subscription, handle)
    events = _events(subscription, 6)
    await bus.publish(subscription, events[:1])
    await until(lambda: batches == [[1]], "the first event in hand")
    await bus.publish(subscription, events[1:])
    (intake,) = bus._intakes
    old = intake._session
    assert old is not None
    await until(lambda: len(old._waiting) == 5, "the others to wait in memory")
    _link(bus)._writer_task.cancel()  # the connection ends
    await until(lambda: old.is_over, "the channel to be known as dead")
    go_on.set()
    await until(lambda: sum(map(len, batches)) >= 7, "all of them once more")
    # The first was begun when the channel died: the inbox knows it when it comes again. The others were handled once.
    assert [version for batch in batches for version in batch] == [1, 1, 2, 3, 4, 5, 6]
    await until(lambda: _is_empty(bus, subscription), "the acknowledgements")


async def _is_empty(bus: RabbitBus, subscription: Subscription) -> bool:
    return await bus.backlog(subscription) == 0


async def test_a_stop_finishes_the_batch_in_hand_and_leaves_the_rest_c10(bus: RabbitBus, subscription: Subscription) -> None:
    handled: list[int] = []
    go_on = asyncio.Event()

    async def handle(events: Sequence[RecordedEvent]) -> None:
        await go_on.wait()
        handled.extend(event.version for event in events)

    stop = await bus.consume(subscription, handle)
    events = _events(subscription, 3)
    await bus.publish(subscription, events[:1])
    (intake,) = bus._intakes
    await until(lambda: intake._session is not None and intake._session.is_active and not intake._session._waiting, "one in hand")
    await bus.publish(subscription, events[1:])
    stopping = asyncio.create_task(stop())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(stopping, 5)
    assert handled == [1]
    again = Receiver()
    again.versions["counter-a"] = 1
    await bus.consume(subscription, again.handle)
    await until(lambda: len(again.copies) == 2, "the rest, for the next consumer")
    assert again.out_of_order == []
    assert events[0].id not in again.copies


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_is_no_event_is_kept_or_goes_to_the_dead_letters_and_the_others_flow_c6(
    bus: RabbitBus, operator: AbstractRobustChannel, subscription: Subscription, *, is_kept: bool
) -> None:
    receiver, kept, failed = Receiver(), list[Refused](), []
    before = await message_count(bus._asking, DEAD_LETTERS) or 0

    async def refuse(refused: Refused) -> None:
        if not failed:
            failed.append(refused)
            raise OSError("the database is away")
        kept.append(refused)

    stop = await bus.consume(subscription, receiver.handle, refuse if is_kept else None)
    first, second = _events(subscription, 2)
    await bus.publish(subscription, [first])
    exchange = await operator.get_exchange(subscription.consumer, ensure=False)
    poison = [
        aio_pika.Message(b"not json", message_id="m1"),
        aio_pika.Message(b"[" * 100_000, message_id="m2", headers={"metadata": "{"}),
        aio_pika.Message(b"\xff\xfe", message_id="m3", type="sagakit.retire", headers={"sagakit_retire": "another queue"}),
        aio_pika.Message(b"{}", message_id="m4", timestamp=datetime(9999, 12, 31, tzinfo=UTC)),
    ]
    for message in poison:
        await exchange.publish(message, "")
    await bus.publish(subscription, [second])
    await until(lambda: receiver.has_all([first, second]), "what is behind the poison")
    await until(lambda: _is_empty(bus, subscription), "everything to be acknowledged")
    await stop()
    assert receiver.out_of_order == []
    if is_kept:
        assert [refused.message_id for refused in kept] == ["m1", "m2", "m3", "m4"]
        assert all(refused.reason for refused in kept)
    else:
        await until(lambda: _waits(bus, before + len(poison)), "dead letters")


async def _waits(bus: RabbitBus, count: int) -> bool:
    return (await message_count(bus._asking, DEAD_LETTERS) or 0) >= count


@pytest.mark.parametrize("raised", [ValueError("a bug"), asyncio.CancelledError()])
async def test_a_handler_that_raises_what_nobody_expects_is_called_again_c6(
    bus: RabbitBus, subscription: Subscription, raised: BaseException
) -> None:
    receiver, attempts = Receiver(), []

    async def handle(events: Sequence[RecordedEvent]) -> None:
        attempts.append(len(events))
        if len(attempts) < 3:
            raise raised
        await receiver.handle(events)

    await bus.consume(subscription, handle)
    events = _events(subscription, 2)
    await bus.publish(subscription, events)
    await until(lambda: receiver.has_all(events), "the events in the end")
    assert receiver.out_of_order == []


async def test_a_session_that_fails_as_nobody_expects_is_followed_by_another_g3(
    bus: RabbitBus, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    await bus.consume(subscription, receiver.handle)
    acknowledge, failed = Session.acknowledge, list[Arrived]()

    async def fail_once(session: Session, last: Arrived) -> None:
        if not failed:
            failed.append(last)
            raise LookupError("nobody expects this")
        await acknowledge(session, last)

    monkeypatch.setattr(Session, "acknowledge", fail_once)
    events = _events(subscription, 3)
    await bus.publish(subscription, events[:1])
    await until(lambda: failed, "the session to fail")
    await bus.publish(subscription, events[1:])
    await until(lambda: receiver.has_all(events), "the others to arrive")
    assert receiver.out_of_order == []
    assert receiver.copies[events[0].id] == 2, "what was not acknowledged comes again"


async def test_a_consumer_that_the_broker_cancels_consumes_again_b8(
    bus: RabbitBus, operator: AbstractRobustChannel, subscription: Subscription
) -> None:
    receiver = Receiver()
    await bus.consume(subscription, receiver.handle)
    await operator.queue_delete(subscription.consumer)
    (intake,) = bus._intakes
    await until(lambda: intake._session is None, "the cancel to arrive")
    await bus.declare([subscription])
    (event,) = _events(subscription, 1)
    assert await bus.publish(subscription, [event]) == [None]
    await until(lambda: receiver.has_all([event]), "an event by the new queue")
    assert await consumer_count(bus._asking, subscription.consumer) == 1


async def test_events_of_a_foreign_producer_reach_the_consumer_by_their_type(
    bus: RabbitBus, operator: AbstractRobustChannel
) -> None:
    for partitions in (1, 3):
        subscription, receiver = new_subscription(partitions), Receiver()
        await bus.declare([subscription])
        await bus.bind_foreign(subscription)
        await bus.bind_foreign(subscription)
        await bus.consume(subscription, receiver.handle)
        topic = await operator.get_exchange(foreign_exchange(subscription.producer), ensure=False)
        events = _events(subscription, 5)
        for event in events:
            assert isinstance(await topic.publish(to_message(event), event.type), Basic.Ack)
        unwanted = await topic.publish(to_message(events[0]), "counter.other")
        assert not isinstance(unwanted, Basic.Ack), "nobody asked for that type"
        await until(lambda receiver=receiver, events=events: receiver.has_all(events), "the events")  # type: ignore[misc]
        assert receiver.out_of_order == []


def test_only_arguments_that_3_10_and_4_x_both_take_are_used() -> None:
    """4.x was not run; its release notes refuse what is not here: transient queues, global QoS, x-queue-mode, mirroring."""
    assert QUEUE_ARGUMENTS.keys() <= ALLOWED_QUEUE_ARGUMENTS
    assert PLAIN_ARGUMENTS.keys() <= ALLOWED_QUEUE_ARGUMENTS
    assert set(ALLOWED_QUEUE_ARGUMENTS) == {
        "x-queue-type", "x-delivery-limit", "x-dead-letter-exchange", "x-dead-letter-strategy", "x-overflow", "x-single-active-consumer",
    }  # fmt: skip
    assert QUEUE_ARGUMENTS["x-queue-type"] == "quorum"
    assert QUEUE_ARGUMENTS["x-dead-letter-strategy"] == "at-least-once"
    assert QUEUE_ARGUMENTS["x-overflow"] == "reject-publish"
    assert {layout_of("c", number).exchange_type for number in (1, 8)} == {"fanout", "direct"}


async def test_everything_that_is_declared_is_durable_and_no_qos_is_global(
    bus: RabbitBus, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    rpc = aio_pika.abc.aiormq.channel.Channel.rpc  # type: ignore[attr-defined]

    async def noting(self: Any, frame: Any, **options: Any) -> Any:
        sent.append(frame)
        return await rpc(self, frame, **options)

    monkeypatch.setattr(aio_pika.abc.aiormq.channel.Channel, "rpc", noting)  # type: ignore[attr-defined]
    partitioned = new_subscription(2)
    await bus.declare([subscription, partitioned])
    await bus.bind_foreign(partitioned)
    await bus.consume(partitioned, Receiver().handle)
    declared = [frame for frame in sent if frame.name in {"Queue.Declare", "Exchange.Declare"}]
    assert len(declared) >= 9
    assert all(frame.durable and not frame.auto_delete for frame in declared)
    assert not any(frame.exclusive for frame in declared if frame.name == "Queue.Declare")
    assert {key for frame in declared if frame.name == "Queue.Declare" for key in frame.arguments} <= ALLOWED_QUEUE_ARGUMENTS
    qos = [frame for frame in sent if frame.name == "Basic.Qos"]
    assert qos
    assert not any(frame.global_ for frame in qos)
