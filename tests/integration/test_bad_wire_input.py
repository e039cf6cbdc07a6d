"""Whatever is published to our queues: it is refused, the consumer lives, and the next event is handled (S11, S12, S18)."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
import structlog
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from pamqp.commands import Basic

from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.rabbitmq.messages import to_message
from tests.support.shop import added
from tests.support.waiting import until

HUGE = 100 * 1024 * 1024


@pytest.fixture
async def channel(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(rabbitmq_url)
    yield await connection.channel()
    await connection.close()


@pytest.fixture
async def bus(rabbitmq_url: str) -> AsyncIterator[RabbitBus]:
    bus = RabbitBus(rabbitmq_url, 20, 50)
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
async def subscription(bus: RabbitBus) -> Subscription:
    subscription = Subscription(f"q{uuid.uuid4().hex[:8]}", "elsewhere", frozenset({"counter.added"}))
    await bus.declare([subscription])
    return subscription


def _event(version: int = 1) -> RecordedEvent:
    now = datetime.now(UTC)
    return RecordedEvent.of(added(), service="elsewhere", stream="counter-a", version=version, position=version, recorded_at=now)


def _changed(**headers: Any) -> Message:
    message = to_message(_event())
    message.headers |= {name.replace("_", ":", 1) if name.startswith("cloudEvents") else name: v for name, v in headers.items()}
    return message


def _with_body(body: bytes) -> Message:
    message = _changed()
    message.body = body
    return message


async def _handled(bus: RabbitBus, subscription: Subscription, count: int) -> list[RecordedEvent]:
    """Consume until so many events came and the queue is empty."""
    seen: list[RecordedEvent] = []

    async def handle(events: Sequence[RecordedEvent]) -> None:
        seen.extend(events)

    async def is_done() -> bool:
        return len(seen) == count and await bus.backlog(subscription) == 0

    stop = await bus.consume(subscription, handle)
    await until(is_done, f"{count} events, and an empty queue")
    await stop()
    assert await bus.backlog(subscription) == 0, "a refused message came back"
    return seen


BAD = {
    "not JSON": (_with_body(b"hello"), "not JSON"),
    "not UTF-8": (_with_body(b"\xff"), "not UTF-8"),
    "nested 100,000 deep": (_with_body(b"[" * 100_000), "deeper than 32"),
    "no headers": (Message(b"{}"), "cloudEvents:specversion"),
    "a header missing": (_changed(stream=None), "without the header stream"),
    "a version that is text": (_changed(version="1"), "version must be an integer"),
    "a giant header": (_changed(note="x" * 100_000), "'note' is longer than 8192"),
    "an id that is none": (_changed(cloudEvents_id="../../etc"), "cloudEvents:id"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_event_is_refused_by_name_and_the_next_is_handled(
    bus: RabbitBus, channel: AbstractChannel, subscription: Subscription, case: str
) -> None:
    message, why = BAD[case]
    event = _event()
    await channel.default_exchange.publish(message, subscription.consumer)
    await channel.default_exchange.publish(to_message(event), subscription.consumer)
    with structlog.testing.capture_logs() as logs:
        assert await _handled(bus, subscription, 1) == [event]
    (refused,) = [line for line in logs if line["log_level"] == "error"]
    assert why in str(refused)
    assert len(str(refused)) < 600


@pytest.mark.parametrize("name", ["os.system", "__class__", "builtins.eval", "counter.dreamt"])
async def test_a_forged_type_reaches_the_consumer_as_a_name_s12(
    bus: RabbitBus, channel: AbstractChannel, subscription: Subscription, name: str
) -> None:
    """The consumer asks the registry, which knows no such name: it parks the event."""
    message = _changed(cloudEvents_type=name)
    message.type = name
    await channel.default_exchange.publish(message, subscription.consumer)
    (event,) = await _handled(bus, subscription, 1)
    assert event.type == name


@pytest.mark.parametrize("traceparent", [None, "", "x" * 60_000, "00-0-0-00", 7, ["00"]])
async def test_no_trace_context_costs_an_event_s18(
    bus: RabbitBus, channel: AbstractChannel, subscription: Subscription, traceparent: Any
) -> None:
    await channel.default_exchange.publish(_changed(traceparent=traceparent, tracestate=traceparent), subscription.consumer)
    (event,) = await _handled(bus, subscription, 1)
    assert event.metadata.traceparent is None


def _table(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def _nested(depth: int) -> bytes:
    table = b""
    for _ in range(depth):
        table = b"\x01aF" + _table(table)
    return _table(table)


_HEADERS, _MESSAGE_ID, _TIMESTAMP = 0x2000, 0x0080, 0x0040
UNDECODABLE = {
    "a header's name that is no UTF-8": (_HEADERS, _table(b"\x01\xffI\0\0\0\1")),
    "tables nested 3000 deep": (_HEADERS, _nested(3000)),
    "a header of the year 292278994": (_HEADERS, _table(b"\x01tT\x7f" + b"\xff" * 7)),
    "a message id that is no UTF-8": (_MESSAGE_ID, b"\x02\xff\xfe"),
    "a timestamp in nanoseconds": (_TIMESTAMP, struct.pack(">Q", 1_764_000_000_000_000_000)),
}


@pytest.mark.parametrize("case", UNDECODABLE)
async def test_properties_that_the_driver_cannot_decode_do_not_stop_the_queue_s11(
    bus: RabbitBus, channel: AbstractChannel, subscription: Subscription, case: str
) -> None:
    flags, raw = UNDECODABLE[case]

    class Raw(Basic.Properties):
        def marshal(self) -> bytes:
            return struct.pack(">H", flags) + raw

    event = _event()
    under = await channel.get_underlay_channel()
    await under.basic_publish(b"{}", exchange="", routing_key=subscription.consumer, properties=Raw())
    await channel.default_exchange.publish(to_message(event), subscription.consumer)
    with structlog.testing.capture_logs() as logs:
        assert await _handled(bus, subscription, 1) == [event]
    assert "the properties cannot be decoded" in str(logs)


async def test_messages_of_100_megabytes_leave_memory_bounded_s11(
    rabbitmq_url: str, bus: RabbitBus, channel: AbstractChannel, subscription: Subscription
) -> None:
    async def most_memory(messages: list[Message], last: RecordedEvent) -> int:
        """Consume these in a process of its own, until the last one is handled; the most memory it had, in MiB."""
        command = [sys.executable, "-m", "tests.support.wire_consumer", rabbitmq_url, subscription.consumer]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            for message in [*messages, to_message(last)]:
                await channel.default_exchange.publish(message, subscription.consumer)
            first = await asyncio.wait_for(asyncio.to_thread(_next_event, process), 60)
            assert first == str(last.id)
            rest, _ = await asyncio.to_thread(process.communicate, "\n", 30)
            return int(rest.split()[-1]) // 1024
        finally:
            process.kill()
            process.wait()

    usual = await most_memory([], _event())
    most = await most_memory([_with_body(b"x" * HUGE)] * 5, _event())
    print(f"{most - usual} MiB more than usual")
    # One body, and the driver's copies of it; five of them would be five times that.
    assert most - usual < 250
    assert await bus.backlog(subscription) == 0


def _next_event(process: subprocess.Popen[str]) -> str | None:
    assert process.stdout is not None
    return next((line.split()[1] for line in process.stdout if line.startswith("event ")), None)
