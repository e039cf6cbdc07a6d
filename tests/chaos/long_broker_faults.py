"""The long forms of the broker's faults: a black hole and a memory alarm of 60 s (B5 to B7, B14).

A part of `make chaos`, for its length; the short forms are in `tests/integration/test_broker_faults.py`."""

from __future__ import annotations

import pytest

from sagakit.rabbitmq.fast_publisher import Publishing
from tests.support import broker_faults, servers
from tests.support.broker_faults import loaded

both_ways = pytest.mark.parametrize("publishing", ["aio-pika", "batched"])


@both_ways
async def test_black_hole_of_60_s_b7(own_rabbitmq: servers.RabbitServer, publishing: Publishing) -> None:
    """On the publisher's link; the short form, in the integration tests, is on both links."""
    async with loaded(own_rabbitmq.url, publishing, behind_proxy="publisher", copies=3) as load:
        await broker_faults.black_hole(load, 60)


@both_ways
async def test_memory_alarm_of_60_s_b5_b6(own_rabbitmq: servers.RabbitServer, publishing: Publishing) -> None:
    async with loaded(own_rabbitmq.url, publishing) as load:
        await broker_faults.memory_alarm(load, own_rabbitmq, 60)


@both_ways
async def test_broker_killed_again_and_again_b14(own_rabbitmq: servers.RabbitServer, publishing: Publishing) -> None:
    async with loaded(own_rabbitmq.url, publishing, partitions=4, copies=None) as load:
        for _ in range(10):
            await broker_faults.killed(load, own_rabbitmq)
