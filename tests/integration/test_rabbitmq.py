"""What RabbitMQ does not take for certain is never a success, and the relay keeps it (G3, failures B4, B5, B12)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from sqlmodel import select

from sagakit.errors import BusUnavailable, NotSendable
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.messages import MAX_BODY_BYTES
from sagakit.rabbitmq.publisher import answers_of
from sagakit.rabbitmq.topology import QUEUE_ARGUMENTS
from sagakit.shared_log import SharedLog
from sagakit.sql.tables import CheckpointRow
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.waiting import until


@pytest.fixture
async def bus(rabbitmq_url: str) -> AsyncIterator[RabbitBus]:
    bus = RabbitBus(rabbitmq_url, 5, 50)
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
async def operator(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of the test's own: the person who breaks and repairs the broker."""
    connection = await aio_pika.connect(rabbitmq_url)
    yield await connection.channel()
    await connection.close()


@pytest.fixture
def subscription() -> Subscription:
    name = f"p{uuid.uuid4().hex[:8]}"
    return Subscription(f"{name}.consumer", name, frozenset({"counter.added"}))


def _event(subscription: Subscription, position: int = 1) -> RecordedEvent:
    return RecordedEvent.of(
        added(),
        service=subscription.producer,
        stream="counter-a",
        version=position,
        position=position,
        recorded_at=datetime.now(UTC),
    )


async def _unbind(operator: AbstractChannel, consumer: str) -> Callable[[], Any]:
    """Take the binding away; return what puts it back."""
    queue = await operator.get_queue(consumer, ensure=False)
    await queue.unbind(consumer, "")
    return lambda: queue.bind(consumer, "")


async def test_a_message_that_no_queue_takes_is_no_success_b4(
    bus: RabbitBus, operator: AbstractChannel, subscription: Subscription
) -> None:
    await bus.declare([subscription])
    assert await bus.publish(subscription, [_event(subscription)]) == [None]
    repair = await _unbind(operator, subscription.consumer)
    (answer,) = await bus.publish(subscription, [_event(subscription, 2)])
    assert isinstance(answer, BusUnavailable)
    assert "counter.added" in str(answer)
    await repair()
    assert await bus.publish(subscription, [_event(subscription, 3)]) == [None]


async def test_a_feed_keeps_what_was_returned_and_repairs_the_binding_b4(
    bus: RabbitBus, operator: AbstractChannel, counting: OpenService, subscription: Subscription
) -> None:
    await bus.declare([subscription])
    await _unbind(operator, subscription.consumer)
    positions: list[int] = []

    class Watched(RabbitBus):
        async def declare(self, wanted: Sequence[Subscription]) -> None:
            if positions:  # the first time nothing is returned yet
                await bus.declare(wanted)

        async def backlog(self, wanted: Subscription) -> int:
            return 0

        async def publish(self, wanted: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
            answers = await bus.publish(wanted, events)
            if any(answers):
                positions.append(await _position(counting, wanted))
            return answers

    for version in range(3):
        await counting.store.append(Append("counter-a", version, (added(version),)))
    leader = Leader(counting.tables, subscription.consumer, "one", 30)
    feed = Feed(subscription, SharedLog(counting.store), leader, Watched("", 1, 1), 10, 0.02)
    task = asyncio.create_task(feed.run())
    received: list[RecordedEvent] = []

    async def handle(events: Sequence[RecordedEvent]) -> None:
        received.extend(events)

    stop = await bus.consume(subscription, handle)
    log = await counting.store.load("counter-a")
    await until(lambda: {event.id for event in received} == {event.id for event in log}, "all events after the repair")
    await until(lambda: _is_at(counting, subscription, log[-1].position), "the checkpoint at the end")
    assert positions[0] == 0
    await stop()
    feed.stop()
    await task


async def _position(counting: OpenService, subscription: Subscription) -> int:
    async with counting.tables.transaction() as session:
        return (await session.exec(select(CheckpointRow.position).where(CheckpointRow.name == subscription.consumer))).one()


async def _is_at(counting: OpenService, subscription: Subscription, position: int) -> bool:
    return await _position(counting, subscription) == position


async def test_a_full_queue_refuses_and_that_is_no_success_b12(
    bus: RabbitBus, operator: AbstractChannel, subscription: Subscription
) -> None:
    """Our queues refuse when full; the default of a queue, to drop its oldest message, would lose it in silence."""
    arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 3}
    exchange = await operator.declare_exchange(subscription.consumer, "fanout", durable=True)
    queue = await operator.declare_queue(subscription.consumer, durable=True, arguments=dict(arguments))
    await queue.bind(exchange, "")
    events = [_event(subscription, position) for position in range(1, 41)]
    confirmed: list[RecordedEvent] = []
    for event in events:
        (answer,) = await bus.publish(subscription, [event])
        if answer is not None:
            assert isinstance(answer, BusUnavailable)
            break
        confirmed.append(event)
    assert 3 <= len(confirmed) < len(events), "the queue never became full: the test shows nothing"
    taken = []
    while (message := await queue.get(fail=False)) is not None:
        taken.append(message.message_id)
        await message.ack()
    assert {str(event.id) for event in confirmed} <= set(taken)


async def test_our_queues_refuse_when_they_are_full_b12(
    bus: RabbitBus, operator: AbstractChannel, subscription: Subscription
) -> None:
    """Declared otherwise, the broker would refuse the same name with other arguments."""
    assert QUEUE_ARGUMENTS["x-overflow"] == "reject-publish"
    await bus.declare([subscription])
    with pytest.raises(aio_pika.exceptions.ChannelPreconditionFailed, match="x-overflow"):
        await operator.declare_queue(
            subscription.consumer, durable=True, arguments={**QUEUE_ARGUMENTS, "x-overflow": "drop-head"}
        )


def _sending(trouble: str) -> Any:
    """Send a batch as a broker or a driver in trouble does."""

    async def confirm() -> Any:
        if trouble == "silent":
            await asyncio.Event().wait()
        if trouble == "cancelled by the driver":
            raise asyncio.CancelledError
        if trouble == "timed out":
            raise TimeoutError
        if trouble == "ended":
            raise aio_pika.exceptions.ChannelInvalidStateError("closed")

    async def send(_channel: Any, _exchange: str, outgoing: Sequence[Any], seconds: float) -> list[Exception | None]:
        return await answers_of([asyncio.ensure_future(confirm()) for _ in outgoing], seconds)

    return send


@pytest.mark.parametrize("trouble", ["silent", "cancelled by the driver", "timed out", "ended"])
async def test_a_publish_whose_fate_is_unknown_is_no_success_b5(
    rabbitmq_url: str, subscription: Subscription, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = RabbitBus(rabbitmq_url, 0.5, 50)
    try:
        await bus.declare([subscription])
        assert await bus.publish(subscription, [_event(subscription)]) == [None]
        lane = bus._publisher.lane(subscription.consumer)
        channel = lane._channel
        with monkeypatch.context() as broken:
            broken.setattr(lane, "_send", _sending(trouble))
            answers = await bus.publish(subscription, [_event(subscription, 2), _event(subscription, 3)])
            assert [type(answer) for answer in answers] == [BusUnavailable, BusUnavailable]
        # What was on its way on that channel is unknown, so the channel is not used again.
        assert channel is not None
        assert channel.is_closed
        assert await bus.publish(subscription, [_event(subscription, 2)]) == [None]
    finally:
        await bus.close()


async def test_a_caller_that_is_cancelled_is_cancelled_and_its_channel_not_used_again(
    bus: RabbitBus, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own wish to stop is told apart from the driver's cancellations."""
    await bus.declare([subscription])
    await bus.publish(subscription, [_event(subscription)])
    lane = bus._publisher.lane(subscription.consumer)
    channel = lane._channel
    monkeypatch.setattr(lane, "_send", _sending("silent"))
    publishing = asyncio.create_task(bus.publish(subscription, [_event(subscription, 2)]))
    await until(lane._lock.locked, "the publish to be on its way")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert channel is not None
    assert channel.is_closed


def _odd(subscription: Subscription, **changes: Any) -> RecordedEvent:
    return dataclasses.replace(_event(subscription, 2), **changes)


async def test_an_event_that_no_broker_takes_is_named_and_the_others_go_b3_b16(
    bus: RabbitBus, subscription: Subscription
) -> None:
    await bus.declare([subscription])
    large = _odd(subscription, stream="counter-b", data=json.dumps({"amount": 1, "note": "x" * MAX_BODY_BYTES}))
    behind_it = _odd(subscription, stream="counter-b", id=uuid.uuid4())
    long_name = _odd(subscription, stream="counter-c", id=uuid.uuid4(), type="t" * 256)
    events = [_event(subscription), large, long_name, behind_it, _event(subscription, 3)]
    answers = await bus.publish(subscription, events)
    assert [type(answer) for answer in answers] == [type(None), NotSendable, NotSendable, BusUnavailable, type(None)]
    assert "consumer takes more" in str(answers[1])
    assert "routing key" in str(answers[2])
    received: list[RecordedEvent] = []

    async def handle(events: Sequence[RecordedEvent]) -> None:
        received.extend(events)

    stop = await bus.consume(subscription, handle)
    await until(lambda: len(received) >= 2, "the others")
    await stop()
    assert [event.version for event in received] == [1, 3]
