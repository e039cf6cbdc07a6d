"""Rows about the time from a commit to its arrival at a consumer, at 20 events a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median

from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from benchmarks.bench import Bench, append_of, cancelled
from benchmarks.delivery.broker import Broker, as_messages
from benchmarks.delivery.domain import services
from benchmarks.delivery.stage import Stage
from benchmarks.domain import line_added
from benchmarks.measure import Measure, Sides
from sagakit.messages import RecordedEvent
from sagakit.rabbitmq.bus import RabbitBus
from tests.support import workers

PER_SECOND = 20
POLL_SECONDS = 0.1


class Clock:
    """When each event was sent and received, by its id."""

    def __init__(self) -> None:
        """Begin with none."""
        self.sent: dict[str, float] = {}
        self.received: dict[str, float] = {}

    def take(self, event_id: str) -> None:
        """Note an arrival; one that comes again counts once."""
        self.received.setdefault(event_id, time.perf_counter())

    async def milliseconds(self, count: int, send: Callable[[int], Awaitable[str]]) -> float:
        """Send one every 50 ms, from when ``send`` is done to when it is received; return the median."""
        self.sent.clear()
        self.received.clear()
        start = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(start + number / PER_SECOND - time.perf_counter(), 0))
            event_id = await send(number)
            self.sent.setdefault(event_id, time.perf_counter())
        async with asyncio.timeout(20):
            while len(self.received) < count:  # noqa: ASYNC110 outside the measured time
                await asyncio.sleep(0.01)
        if self.received.keys() != self.sent.keys():
            raise AssertionError("other events were received than were sent")
        return median(max(self.received[one] - self.sent[one], 0.0) for one in self.sent) * 1000


def appending(stage: Stage, clock: Clock, count: int) -> Measure:
    """Measure from the answer to an append until its event is with the consumer."""

    async def send(_number: int) -> str:
        (name,) = stage.bench.names(1)
        event = line_added()
        await stage.producer.store.append(append_of(name, event))
        return str(event.id)

    async def measure() -> float:
        found = await clock.milliseconds(count, send)
        stage.filled += count
        await stage.database.holds(stage.filled)
        return found

    return measure


@asynccontextmanager
async def _ours(bench: Bench, number: int, count: int, *, is_apart: bool) -> AsyncIterator[tuple[Stage, Measure]]:
    """Open our side: the relay here, or in a process of its own that learns of a commit by NOTIFY."""
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage.opened(bench, partial(services, number)))
        if is_apart:
            job = workers.Job(f"relay{number}", stage.make_services, stage.settings, ("relay",), bench.folder)
            process = workers.start(job)
            stack.callback(process.join)
            stack.callback(process.terminate)
            async with asyncio.timeout(60):
                while not job.file("ready").exists():  # noqa: ASYNC110 a file of our own
                    await asyncio.sleep(0.01)
        else:
            await stack.enter_async_context(stage.running("relay"))
        clock, bus = Clock(), RabbitBus(bench.bus, 5.0, 50)
        stack.push_async_callback(bus.close)
        await bus.declare([stage.subscription])

        async def handle(events: Sequence[RecordedEvent]) -> None:
            for event in events:
                clock.take(str(event.id))

        stack.push_async_callback(await bus.consume(stage.subscription, handle))
        yield stage, appending(stage, clock, count)


@asynccontextmanager
async def _bare(bench: Bench, name: str) -> AsyncIterator[tuple[AbstractExchange, Clock]]:
    """Open a bare exchange and queue with a consumer that notes and acknowledges."""
    async with AsyncExitStack() as stack:
        publishing = await stack.enter_async_context(Broker.connected(bench.bus))
        exchange, _ = await publishing.queue(name)
        consuming = await stack.enter_async_context(Broker.connected(bench.bus))
        clock = Clock()

        async def on_message(message: AbstractIncomingMessage) -> None:
            clock.take(str(message.message_id))
            await message.ack()

        await (await consuming.channel.get_queue(name)).consume(on_message)
        yield exchange, clock


@asynccontextmanager
async def against_publish(bench: Bench, number: int, count: int, *, is_apart: bool = False) -> AsyncIterator[Sides]:
    """Time a commit's way to the consumer, against a message's from the begin of its publish."""
    size = bench.scale.of(count)
    async with _ours(bench, number, size, is_apart=is_apart) as (_, ours), _bare(bench, f"bare{number}") as (exchange, clock):
        async with Stage.opened(bench, partial(services, number)) as unsent:
            await unsent.fill(size)
            messages = list(as_messages(await unsent.events(size)))

        async def send(place: int) -> str:
            event_id = str(messages[place].message_id)
            clock.sent[event_id] = time.perf_counter()
            await exchange.publish(messages[place], "", timeout=10)
            return event_id

        yield Sides(ours, lambda: clock.milliseconds(size, send))


@asynccontextmanager
async def against_poller(bench: Bench, number: int, count: int) -> AsyncIterator[Sides]:
    """Time a commit's way to the consumer, against a relay that looks at the log every 100 ms and publishes as ours does."""
    size = bench.scale.of(count)
    async with AsyncExitStack() as stack:
        _, ours = await stack.enter_async_context(_ours(bench, number, size, is_apart=False))
        polled = await stack.enter_async_context(Stage.opened(bench, partial(services, number)))
        exchange, clock = await stack.enter_async_context(_bare(bench, f"bare{number}"))

        async def poll() -> None:
            reader = polled.producer.store.reader(0)
            while True:
                while events := await reader.read(200):
                    await asyncio.gather(*(exchange.publish(message, "", timeout=10) for message in as_messages(events)))
                await asyncio.sleep(POLL_SECONDS)

        stack.push_async_callback(cancelled, asyncio.create_task(poll()))
        yield Sides(ours, appending(polled, clock, size))
