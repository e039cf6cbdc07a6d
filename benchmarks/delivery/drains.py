"""Rows about how fast the log reaches the broker: against its client alone, simpler relays, and a late subscriber."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from aio_pika.abc import AbstractExchange

from benchmarks.bench import Bench
from benchmarks.delivery.broker import Broker, as_messages, publish_all
from benchmarks.delivery.domain import services
from benchmarks.delivery.stage import Stage
from benchmarks.measure import Measure, Sides
from benchmarks.peer import Peer
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.sql import subscriptions


def draining(stage: Stage, broker: Broker, count: int) -> Measure:
    """Measure events per second from the commit of so many until our relay, at work, has them all confirmed and marked."""

    async def measure() -> float:
        began = await stage.fill(count)
        seconds = await stage.delivered() - began
        await broker.holds_for(stage.subscription, count)
        await stage.database.holds(stage.filled)
        return count / seconds

    return measure


@asynccontextmanager
async def against_ceiling(bench: Bench, number: int, count: int, publisher: str = "aio-pika") -> AsyncIterator[Sides]:
    """Drain, against publishing the same messages, made before, with nothing to read and nothing to mark."""
    async with AsyncExitStack() as stack:
        stage, broker, exchange = await _opened(stack, bench, number, publisher)
        size = bench.scale.of(count)
        await stage.fill(size)
        await stage.delivered()
        await broker.holds_for(stage.subscription, size)
        events = await stage.events(size)

        async def publishing() -> float:
            messages = list(as_messages(events))
            start = time.perf_counter()
            await publish_all(exchange, messages)
            seconds = time.perf_counter() - start
            await broker.holds([exchange.name], size)
            return size / seconds

        yield Sides(draining(stage, broker, size), publishing)


@asynccontextmanager
async def against_one_by_one(bench: Bench, number: int, count: int, their_count: int) -> AsyncIterator[Sides]:
    """Drain, against a relay that publishes an event, waits for its confirm and marks it, then takes the next."""
    async with AsyncExitStack() as stack:
        stage, broker, exchange = await _opened(stack, bench, number, "batched")
        simple = await stack.enter_async_context(Stage.opened(bench, partial(services, number)))
        size = bench.scale.of(their_count)
        position = 0

        async def relaying() -> float:
            nonlocal position
            await simple.fill(size)
            reader, sent, start = simple.producer.store.reader(position), 0, time.perf_counter()
            async with simple.database.connection() as connection:
                await connection.execute("create table if not exists one_by_one (position bigint)")
                while events := await reader.read(100):
                    for event, message in zip(events, as_messages(events), strict=True):
                        await exchange.publish(message, "", timeout=10)
                        await connection.execute("update one_by_one set position = $1", event.position)
                        position, sent = event.position, sent + 1
            seconds = time.perf_counter() - start
            await broker.holds([exchange.name], size)
            return sent / seconds

        yield Sides(draining(stage, broker, bench.scale.of(count)), relaying)


@asynccontextmanager
async def against_cqrs(bench: Bench, number: int, count: int, their_count: int) -> AsyncIterator[Sides]:
    """Drain, against the outbox producer of python-cqrs in its own process."""
    async with AsyncExitStack() as stack:
        stage, broker, exchange = await _opened(stack, bench, number, "batched")
        database = await bench.postgres.new_database()
        starting = Peer.started("cqrs_peer.py", database=database.url, bus=bench.bus, exchange=exchange.name)
        peer = await stack.enter_async_context(starting)
        size = bench.scale.of(their_count)

        async def producing() -> float:
            answer = await peer.ask("drain", count=size)
            await broker.holds([exchange.name], size)
            async with database.connection() as connection:
                if unsent := await connection.fetchval("select count(*) from outbox where event_status <> 'PRODUCED'"):
                    raise AssertionError(f"{unsent} events of the peer are not sent")
            return float(answer["sent"] / answer["seconds"])

        yield Sides(draining(stage, broker, bench.scale.of(count)), producing)


@asynccontextmanager
async def late_subscriber(bench: Bench, number: int, count: int) -> AsyncIterator[Sides]:
    """Catch a new subscription up from the beginning of the log, against the live drain of the same relay."""
    async with AsyncExitStack() as stack:
        stage, broker, _ = await _opened(stack, bench, number)
        size, late = bench.scale.of(count), 0
        bus = RabbitBus(bench.bus, 5.0, 50)
        stack.push_async_callback(bus.close)

        async def catching_up() -> float:
            nonlocal late
            late += 1
            subscription = replace(stage.subscription, consumer=f"late{number}.{late}")
            total = stage.filled
            await bus.declare([subscription])
            began = await _begins(stage, subscription)
            seconds = await stage.delivered(subscription) - began
            await broker.holds_for(subscription, total)
            await _ends(stage, subscription)
            return total / seconds

        await stage.fill(size)
        await stage.delivered()
        await broker.holds_for(stage.subscription, size)
        yield Sides(catching_up, draining(stage, broker, size))


async def _begins(stage: Stage, subscription: Subscription) -> float:
    """Record a subscription; return when the relay, which looks for new ones once a second, first took its lease."""
    async with stage.producer.tables.transaction() as session:
        await subscriptions.record(session, subscription)
    name = subscriptions.checkpoint_of(subscription.consumer)
    async with stage.database.connection() as connection, asyncio.timeout(30):
        while await connection.fetchval("select epoch from sagakit_checkpoints where name = $1", name) is None:  # noqa: ASYNC110 a row of another
            await asyncio.sleep(0.002)
        return time.perf_counter()


async def _ends(stage: Stage, subscription: Subscription) -> None:
    """Take a subscription back, or the live drain beside it would have to feed every late one as well."""
    async with stage.producer.tables.transaction() as session:
        await subscriptions.remove(session, subscription.consumer)
    await asyncio.sleep(2)  # the relay looks once a second


async def _opened(
    stack: AsyncExitStack, bench: Bench, number: int, publisher: str = "aio-pika"
) -> tuple[Stage, Broker, AbstractExchange]:
    stage = await stack.enter_async_context(Stage.opened(bench, partial(services, number), publisher=publisher))
    await stack.enter_async_context(stage.running("relay"))
    broker = await stack.enter_async_context(Broker.connected(bench.bus))
    exchange, _ = await broker.queue(f"bare{number}")
    return stage, broker, exchange
