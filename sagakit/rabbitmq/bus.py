"""The bus on RabbitMQ: a topic exchange per service, a durable quorum queue per consumer, publisher confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractRobustConnection
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from sagakit.errors import BusUnavailable
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Subscription
from sagakit.rabbitmq.intake import Intake
from sagakit.rabbitmq.messages import to_message

_log = structlog.get_logger("sagakit.rabbitmq")
_QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    # Far above any number of crashes: attempts are counted in our own database, not by the broker.
    "x-delivery-limit": 100_000,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-single-active-consumer": True,  # a second process stands by, so that order per stream holds
}


def exchange_of(service: str) -> str:
    """Name the exchange that carries a service's events."""
    return f"{service}.events"


class RabbitBus:
    """Implements the port `Bus`. Publishing and consuming have a connection each: an alarm on one spares the other."""

    def __init__(self, url: str, publish_seconds: float, prefetch: int) -> None:
        """Take the AMQP URL, the seconds until a publish counts as unknown, and the messages a consumer holds."""
        self._url, self._publish_seconds, self._prefetch = url, publish_seconds, prefetch
        self._connections: dict[str, AbstractRobustConnection] = {}
        self._publish_channel: AbstractChannel | None = None
        self._exchanges: dict[str, AbstractExchange] = {}
        self._bound: set[tuple[str, str]] = set()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Connect; fails at once when there is no broker."""
        await self._connection("publish")

    async def _connection(self, purpose: str) -> AbstractRobustConnection:
        if purpose not in self._connections:
            try:
                self._connections[purpose] = await aio_pika.connect_robust(
                    self._url,
                    timeout=10,
                    heartbeat=10,
                    reconnect_interval=1,
                    client_properties={"connection_name": f"sagakit {purpose}"},
                )
            except (OSError, TimeoutError, AMQPError) as error:
                raise BusUnavailable(f"RabbitMQ does not answer: {error}. Start it, or correct SAGAKIT_BUS") from error
        return self._connections[purpose]

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """See the port."""
        connection = await self._connection("publish")
        try:
            channel = await connection.channel()
            for subscription in subscriptions:
                exchange = await channel.declare_exchange(exchange_of(subscription.producer), "topic", durable=True)
                queue = await channel.declare_queue(subscription.consumer, durable=True, arguments=dict(_QUEUE_ARGUMENTS))
                for event_type in subscription.event_types:
                    await queue.bind(exchange, event_type)
                    self._bound.add((subscription.producer, event_type))
            await channel.close()
        except (OSError, TimeoutError, RuntimeError, AMQPError) as error:
            raise BusUnavailable(f"RabbitMQ refuses the queues of this system: {error}") from error

    async def publish(self, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """See the port. Only Basic.Ack counts; a returned, refused or unanswered publish is never a success."""
        async with self._lock:
            try:
                exchanges = {service: await self._exchange(service) for service in {event.service for event in events}}
            except (OSError, TimeoutError, RuntimeError, AMQPError) as error:
                await self._drop_channel()
                unavailable = BusUnavailable(f"RabbitMQ does not answer: {error}")
                return [unavailable for _ in events]
            tasks = [asyncio.ensure_future(self._publish_one(exchanges[event.service], event)) for event in events]
            done, pending = await asyncio.wait(tasks, timeout=self._publish_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            answers = [task.result() if task in done and not task.cancelled() else BusUnavailable("no confirm") for task in tasks]
            if any(answers):
                # What is still on its way on this channel is unknown: it is closed, and the same ids are sent again.
                await self._drop_channel()
            return answers

    async def _publish_one(self, exchange: AbstractExchange, event: RecordedEvent) -> Exception | None:
        is_owed = (event.service, event.type) in self._bound
        try:
            answer = await exchange.publish(to_message(event), event.type, mandatory=is_owed, timeout=self._publish_seconds)
        except asyncio.CancelledError:
            # aiormq cancels waiting publishes when the connection dies; that is no wish of ours to stop.
            return BusUnavailable("the connection ended before the confirm")
        except (OSError, TimeoutError, RuntimeError, AMQPError, aio_pika.exceptions.DeliveryError) as error:
            return BusUnavailable(f"{event.type}: {type(error).__name__} {error}")
        return None if isinstance(answer, Basic.Ack) else BusUnavailable(f"{event.type}: answered with {answer!r}")

    async def _exchange(self, service: str) -> AbstractExchange:
        if self._publish_channel is None:
            connection = await self._connection("publish")
            self._publish_channel = await asyncio.wait_for(
                connection.channel(publisher_confirms=True, on_return_raises=True), self._publish_seconds
            )
        if service not in self._exchanges:
            self._exchanges[service] = await asyncio.wait_for(
                self._publish_channel.declare_exchange(exchange_of(service), "topic", durable=True), self._publish_seconds
            )
        return self._exchanges[service]

    async def _drop_channel(self) -> None:
        channel, self._publish_channel = self._publish_channel, None
        self._exchanges.clear()
        if channel is not None:
            try:
                await asyncio.wait_for(channel.close(), 2)
            except (OSError, TimeoutError, RuntimeError, AMQPError, asyncio.CancelledError) as error:
                _log.info("channel ended before it was closed", error=repr(error))

    async def consume(self, consumer: str, handle: Handle) -> Callable[[], Awaitable[None]]:
        """See the port. Events of one stream wait for each other; different streams go side by side."""
        intake = Intake(consumer, handle)
        try:
            await intake.start(await self._connection("consume"), self._prefetch)
        except (OSError, TimeoutError, RuntimeError, AMQPError) as error:
            raise BusUnavailable(f"RabbitMQ does not give out the queue {consumer}: {error}") from error
        return intake.stop

    async def close(self) -> None:
        """See the port."""
        for connection in self._connections.values():
            await connection.close()
