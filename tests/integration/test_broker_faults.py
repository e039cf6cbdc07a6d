"""Faults of the broker and of the way to it, under load: nothing lost, order kept, few copies, back within ten seconds (G3, G9)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aio_pika
import pytest
from aio_pika.abc import AbstractRobustChannel

from sagakit.rabbitmq.fast_publisher import Publishing
from sagakit.rabbitmq.topology import layout
from tests.support import broker_faults, servers
from tests.support.broker_faults import loaded
from tests.support.waiting import until

both_ways = pytest.mark.parametrize("publishing", ["aio-pika", "batched"])


@pytest.fixture
async def operator(rabbitmq_url: str) -> AsyncIterator[AbstractRobustChannel]:
    connection = await aio_pika.connect_robust(rabbitmq_url)
    yield await connection.channel()  # type: ignore[misc]
    await connection.close()


async def test_black_hole_before_the_publisher_b7(rabbitmq_url: str) -> None:
    async with loaded(rabbitmq_url, "aio-pika") as load:
        await broker_faults.black_hole(load, 4)


async def test_black_hole_before_the_consumer_b7_c2(rabbitmq_url: str) -> None:
    async with loaded(rabbitmq_url, behind_proxy="consumer", copies=None) as load:
        await broker_faults.black_hole(load, 4)


async def test_resets_each_second_before_the_publisher_b8(rabbitmq_url: str) -> None:
    async with loaded(rabbitmq_url, "aio-pika") as load:
        await broker_faults.resets(load, 3)


async def test_resets_each_second_before_the_consumer_b8_c2(rabbitmq_url: str) -> None:
    async with loaded(rabbitmq_url, behind_proxy="consumer", copies=None, partitions=4) as load:
        await broker_faults.resets(load, 3)
        assert max(load.receiver.copies.values()) > 1, "no reset met work in hand: the test shows nothing"


async def test_a_connection_that_ends_behind_messages_before_the_consumer_b8_c2(rabbitmq_url: str) -> None:
    """The driver then knows no reason, and raises a bare `Exception` in whoever acknowledges: the consumer goes on (G3)."""
    async with loaded(rabbitmq_url, behind_proxy="consumer", copies=None) as load:
        await broker_faults.last_words(load, 5)


@both_ways
async def test_replies_dropped_b9(rabbitmq_url: str, publishing: Publishing) -> None:
    async with loaded(rabbitmq_url, publishing) as load:
        await broker_faults.replies_dropped(load, 2)
    assert max(load.receiver.copies.values()) > 1, "no publish was stored without its reply: the test shows nothing"


async def test_memory_alarm_b5_b6(own_rabbitmq: servers.RabbitServer) -> None:
    async with loaded(own_rabbitmq.url, "aio-pika") as load:
        await broker_faults.memory_alarm(load, own_rabbitmq, 3)


@both_ways
async def test_broker_killed_b14(own_rabbitmq: servers.RabbitServer, publishing: Publishing) -> None:
    """With several queues: which of them a stream goes to may not change when the node is started again (G3)."""
    async with loaded(own_rabbitmq.url, publishing, partitions=4, copies=None) as load:
        await broker_faults.killed(load, own_rabbitmq)


async def test_a_binding_deleted_under_load_b4(rabbitmq_url: str, operator: AbstractRobustChannel) -> None:
    async with loaded(rabbitmq_url, partitions=2) as load:
        laid_out = layout(load.subscription)
        for name, key in laid_out.bindings:
            queue = await operator.get_queue(name, ensure=False)
            await queue.unbind(laid_out.exchange, key)
        await until(lambda: any("no queue takes it" in text for text in load.sender.failures), "a returned message")
        await load.sender.goes_on(100)


async def test_a_queue_deleted_under_load_is_declared_and_consumed_again_b8(
    rabbitmq_url: str, operator: AbstractRobustChannel
) -> None:
    """What was in the queue is gone with it; the log has it, and sends it again: `replay`."""
    async with loaded(rabbitmq_url, copies=None) as load:
        for _ in range(2):
            await load.sender.goes_on(100)
            await operator.queue_delete(load.subscription.consumer)
            await load.sender.goes_on(100)
        load.is_replayed = True
