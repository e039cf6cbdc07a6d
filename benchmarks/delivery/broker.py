"""The broker as both sides use it beside our bus: queues of the same kind, what waits in them, and the bare publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractQueue

from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.rabbitmq.messages import to_message
from sagakit.rabbitmq.topology import QUEUE_ARGUMENTS, layout

PIPELINE = 500
"""Publishes in flight at once: what aio-pika is fastest with."""


@dataclass
class Broker:
    """A connection of the benchmark's own."""

    url: str
    _connection: AbstractConnection
    channel: AbstractChannel
    _queues: list[str] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Self]:
        """Connect; the queues made by `queue` are deleted at the end."""
        connection = await aio_pika.connect(url)
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        broker = cls(url, connection, channel)
        try:
            yield broker
        finally:
            for name in broker._queues:
                await (await channel.get_queue(name)).delete(if_unused=False, if_empty=False)
            await connection.close()

    async def queue(self, name: str) -> tuple[AbstractExchange, AbstractQueue]:
        """Declare a fanout exchange and a quorum queue like ours behind it."""
        exchange = await self.channel.declare_exchange(name, "fanout", durable=True)
        queue = await self.channel.declare_queue(name, durable=True, arguments=dict(QUEUE_ARGUMENTS))
        await queue.bind(exchange)
        self._queues.append(name)
        return exchange, queue

    async def holds(self, names: Sequence[str], messages: int) -> None:
        """Check that so many messages wait, then remove them. Raises `AssertionError`."""
        found = -1
        for _ in range(200):
            queues = [await self.channel.declare_queue(name, passive=True) for name in names]
            found = sum(queue.declaration_result.message_count or 0 for queue in queues)
            if found == messages:
                break
            await asyncio.sleep(0.05)  # a quorum queue tells its length a little later
        for name in names:
            await (await self.channel.get_queue(name)).purge()
        if found != messages:
            raise AssertionError(
                f"{found} messages in {', '.join(names)} instead of {messages}; the measurement counts for nothing"
            )

    async def holds_for(self, subscription: Subscription, messages: int) -> None:
        """Check and empty the queues of one of our consumers in the same way."""
        await self.holds(layout(subscription).queues, messages)


async def publish_all(exchange: AbstractExchange, messages: Sequence[aio_pika.Message]) -> None:
    """Publish with confirms, as fast as aio-pika can on one channel."""
    for start in range(0, len(messages), PIPELINE):
        await asyncio.gather(*(exchange.publish(message, "", timeout=60) for message in messages[start : start + PIPELINE]))


def as_messages(events: Sequence[RecordedEvent]) -> Iterator[aio_pika.Message]:
    """Make the messages that our bus would send: the same size, the same headers."""
    return map(to_message, events)
