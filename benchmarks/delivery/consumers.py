"""Rows about consumers: inbox and effect against a consumer without a database, and one process against four."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from benchmarks.bench import Bench
from benchmarks.delivery.broker import Broker, as_messages, publish_all
from benchmarks.delivery.domain import Handling, SeenBatches, SeenLines, SlowLines, services
from benchmarks.delivery.stage import Stage
from benchmarks.measure import Measure, Sides
from benchmarks.peer import Peer
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus
from tests.support import workers

PREFETCH = 200
PARTITIONS = 8


async def publish_last(stage: Stage, bus: RabbitBus, subscription: Subscription, count: int) -> None:
    """Hand the last so many events of the log over to one consumer."""
    events = await stage.events(count)
    for start in range(0, count, PREFETCH):
        for answer in await bus.publish(subscription, events[start : start + PREFETCH]):
            if answer is not None:
                raise answer


@asynccontextmanager
async def against_faststream(bench: Bench, number: int, count: int, *, in_batches: bool = False) -> AsyncIterator[Sides]:
    """Handle events that wait, with inbox row and effect in a database, against a FastStream handler that only counts."""
    make_services = partial(services, number, lines=SeenBatches if in_batches else SeenLines)
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage.opened(bench, make_services, prefetch=PREFETCH))
        broker = await stack.enter_async_context(Broker.connected(bench.bus))
        exchange, _ = await broker.queue(f"bare{number}")
        starting = Peer.started("faststream_peer.py", bus=bench.bus, queue=exchange.name, prefetch=PREFETCH)
        peer = await stack.enter_async_context(starting)
        bus = RabbitBus(bench.bus, 5.0, PREFETCH)
        stack.push_async_callback(bus.close)
        await bus.declare([stage.subscription])
        await stage.system.open(f"till{number}")
        size = bench.scale.of(count)

        async def handling() -> float:
            await stage.fill(size)
            await publish_last(stage, bus, stage.subscription, size)
            Handling.first_at = None
            async with stage.running("consumers"):
                ended = await stage.affected(stage.filled)
            await broker.holds_for(stage.subscription, 0)
            return size / (ended - (Handling.first_at or 0.0))

        async def counting() -> float:
            await publish_all(exchange, list(as_messages(await stage.events(size))))
            answer = await peer.ask("consume", count=size)
            await broker.holds([exchange.name], 0)
            return float(size / answer["seconds"])

        yield Sides(handling, counting)


@asynccontextmanager
async def scale_out(bench: Bench, number: int, processes: int, count: int) -> AsyncIterator[Sides]:
    """Handle events whose handler waits 5 ms with several processes on 8 partitions, against one on as many."""
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(_with_processes(bench, number + place, several, bench.scale.of(count)))
            for place, several in enumerate((processes, 1))
        ]
        yield Sides(*sides)


@asynccontextmanager
async def _with_processes(bench: Bench, number: int, processes: int, count: int) -> AsyncIterator[Measure]:
    make_services = partial(services, number, PARTITIONS, SlowLines)
    async with AsyncExitStack() as stack:
        partitions = {make_services().subscriptions()[0].consumer: PARTITIONS}
        opening = Stage.opened(bench, make_services, prefetch=PREFETCH, partitions=partitions)
        stage = await stack.enter_async_context(opening)
        bus = RabbitBus(bench.bus, 5.0, PREFETCH)
        stack.push_async_callback(bus.close)
        await bus.declare([stage.subscription])
        jobs = [
            workers.Job(f"consumer{number}-{place}", make_services, stage.settings, ("consumers",), bench.folder)
            for place in range(processes)
        ]
        for job in jobs:
            process = workers.start(job)
            stack.callback(process.join)
            stack.callback(process.terminate)
        async with asyncio.timeout(60):
            while not all(job.file("ready").exists() for job in jobs):  # noqa: ASYNC110 files of our own
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # each has its share of the queues by then

        async def measure() -> float:
            await stage.fill(count)
            began = time.perf_counter()
            await publish_last(stage, bus, stage.subscription, count)
            return count / (await stage.affected(stage.filled) - began)

        yield measure
