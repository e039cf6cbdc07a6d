"""The bus on RabbitMQ: each subscription has its own exchange and durable quorum queues; publisher confirms.

Three connections, each made when it is needed: one publishes, one consumes, one declares and asks. An alarm of the broker
stops the first alone (failures B6).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from aio_pika import Message
from aiormq.exceptions import ChannelNotFoundEntity

from sagakit.errors import BusUnavailable
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Refuse, Retired, Subscription
from sagakit.rabbitmq.declaring import bind_to_foreign, declare_all, message_count
from sagakit.rabbitmq.driver_errors import LINK_ERRORS
from sagakit.rabbitmq.fast_publisher import Publishing, sender
from sagakit.rabbitmq.intake import Intake
from sagakit.rabbitmq.link import Link
from sagakit.rabbitmq.publisher import Publisher
from sagakit.rabbitmq.retirement import Retirement
from sagakit.rabbitmq.sharing import share
from sagakit.rabbitmq.topology import layout


class RabbitBus:
    """Implements the port `Bus`."""

    def __init__(
        self, url: str, publish_seconds: float, prefetch: int, *, publishing: Publishing = "aio-pika", heartbeat_seconds: int = 5
    ) -> None:
        """Take the AMQP URL, the seconds until a publish counts as unknown, and the messages a consumer holds for each queue.

        ``publishing`` is how a batch is written. A peer that is silent for three heartbeats is given up.
        """
        self._prefetch = prefetch
        self._publishing = Link(url, "publish", publish_seconds, heartbeat_seconds)
        self._consuming = Link(url, "consume", publish_seconds, heartbeat_seconds)
        self._asking = Link(url, "declare", publish_seconds, heartbeat_seconds)
        self._publisher = Publisher(self._publishing, sender(publishing), publish_seconds)
        self._retirement = Retirement(self._asking, self._send_to)
        self._watches: set[asyncio.Task[None]] = set()
        self._intakes: list[Intake] = []

    async def open(self) -> None:
        """Connect; fails at once when there is no broker."""
        await self._publishing.open()

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """See the port."""
        await declare_all(self._asking, subscriptions)

    async def bind_foreign(self, subscription: Subscription) -> None:
        """See the port."""
        await bind_to_foreign(self._asking, subscription)

    async def publish(self, subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """See the port. Only Basic.Ack counts; a returned, refused or unanswered publish is never a success."""
        return await self._publisher.publish(layout(subscription), events)

    async def _send_to(self, exchange: str, message: Message, routing_key: str) -> Exception | None:
        (answer,) = await self._publisher.lane("").publish(exchange, [(message, routing_key)])
        return answer

    async def backlog(self, subscription: Subscription) -> int:
        """See the port."""
        try:
            counts = [await message_count(self._asking, queue) for queue in layout(subscription).queues]
        except LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not tell what waits for {subscription.consumer}: {error}") from error
        if None in counts:
            raise BusUnavailable(f"RabbitMQ has no queue for {subscription.consumer}; `topology apply` declares it")
        return sum(count for count in counts if count is not None)

    async def retire(self, subscription: Subscription, former_partitions: int) -> bool:
        """See the port."""
        try:
            return await self._retirement.go_on(subscription, former_partitions)
        except LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not exchange the queues of {subscription.consumer}: {error}") from error

    async def consume(
        self,
        subscription: Subscription,
        handle: Handle,
        refuse: Refuse | None = None,
        retired: Retired | None = None,
        producers: frozenset[str] = frozenset(),
    ) -> Callable[[], Awaitable[None]]:
        """See the port."""
        intakes = [
            Intake(
                queue,
                self._consuming,
                self._prefetch,
                handle,
                refuse,
                producers or frozenset({subscription.producer}),
                is_former=retired is not None,
            )
            for queue in layout(subscription).queues
        ]

        self._intakes += intakes

        async def stop() -> None:
            await asyncio.gather(*(intake.stop() for intake in intakes))
            self._intakes = [intake for intake in self._intakes if intake not in intakes]

        try:
            # In an order of its own, so that processes that start together are first in line for different queues.
            for intake in random.sample(intakes, len(intakes)):
                await intake.start()
        except LINK_ERRORS as error:
            await stop()
            advice = "; `topology apply` declares it" if isinstance(error, ChannelNotFoundEntity) else ""
            raise BusUnavailable(f"RabbitMQ does not give out the queues of {subscription.consumer}: {error}{advice}") from error
        if retired is not None:
            self._watch(_when_gone(intakes, retired))
        elif (members := layout(subscription).members) is not None:
            sharing = self._watch(share(self._asking, self._consuming, members, intakes))

            async def stop_sharing() -> None:
                sharing.cancel()
                await asyncio.gather(sharing, stop(), return_exceptions=True)

            return stop_sharing
        return stop

    def _watch(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        watch = asyncio.create_task(what)
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return watch

    async def close(self) -> None:
        """See the port."""
        for watch in self._watches:
            watch.cancel()
        for intake in self._intakes:
            intake.abandon()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await asyncio.gather(self._publishing.close(), self._consuming.close(), self._asking.close())


async def _when_gone(intakes: Sequence[Intake], retired: Retired) -> None:
    if all(await asyncio.gather(*(intake.gone() for intake in intakes))):
        await retired()
