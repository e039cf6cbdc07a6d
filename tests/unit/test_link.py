"""A connection to RabbitMQ that could not be made is closed there and then: the driver would do it when it is collected."""

from __future__ import annotations

import asyncio
import gc

import aio_pika
import pytest

from sagakit.errors import BusUnavailable
from sagakit.rabbitmq.link import Link


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_failed_connection_leaves_nothing_to_the_garbage_collector() -> None:
    server = await asyncio.start_server(_hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = Link(f"amqp://guest:guest@127.0.0.1:{port}/", "test", 5, 60)
    try:
        with pytest.raises(BusUnavailable) as caught:
            await link.open()
        attempts = [one for one in gc.get_objects() if isinstance(one, aio_pika.Connection) and one.url.port == port]
        assert caught.value.__cause__ is not None  # its traceback keeps the attempt alive
        assert [one.is_closed for one in attempts] == [True]
    finally:
        await link.close()
        server.close()
        await server.wait_closed()
