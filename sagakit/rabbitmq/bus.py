"""The bus on RabbitMQ: each subscription has its own exchange and durable quorum queues; publisher confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractRobustConnection
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from sagakit import crash_points
from sagakit.errors import BusUnavailable, NotSendable
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Subscription
from sagakit.rabbitmq.intake import Intake
from sagakit.rabbitmq.messages import MAX_BODY_BYTES, to_message
from sagakit.rabbitmq.topology import QUEUE_ARGUMENTS, Layout, layout

_log = structlog.get_logger("sagakit.rabbitmq")
_LINK_ERRORS = (OSError, TimeoutError, RuntimeError, AMQPError)


class RabbitBus:
    """Implements the port `Bus`. Publishing and consuming have a connection each: an alarm on one spares the other."""

    def __init__(self, url: str, publish_seconds: float, prefetch: int) -> None:
        """Take the AMQP URL, the seconds until a publish counts as unknown, and the messages a consumer holds."""
        self._url, self._publish_seconds, self._prefetch = url, publish_seconds, prefetch
        self._connections: dict[str, AbstractRobustConnection] = {}
        self._publish_channel: AbstractChannel | None = None
        self._exchanges: dict[str, AbstractExchange] = {}
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
                await _declare(channel, layout(subscription))
            await channel.close()
        except _LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ refuses the queues of this system: {error}") from error

    async def publish(self, subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """See the port. Only Basic.Ack counts; a returned, refused or unanswered publish is never a success."""
        async with self._lock:
            try:
                exchange = await self._exchange(layout(subscription))
            except _LINK_ERRORS as error:
                await self._drop_channel()
                unavailable = BusUnavailable(f"RabbitMQ does not answer: {error}")
                return [unavailable for _ in events]
            refused: set[str] = set()
            tasks = [asyncio.ensure_future(self._publish_one(exchange, event, refused)) for event in events]
            await asyncio.sleep(0)
            crash_points.reached(crash_points.FEED_SENT)
            done, pending = await asyncio.wait(tasks, timeout=self._publish_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            answers = [task.result() if task in done and not task.cancelled() else BusUnavailable("no confirm") for task in tasks]
            if any(answers):
                # What is still on its way on this channel is unknown: it is closed, and the same ids are sent again.
                await self._drop_channel()
            return answers

    async def _publish_one(self, exchange: AbstractExchange, event: RecordedEvent, refused: set[str]) -> Exception | None:
        # Runs up to the first await in the order of the events, so that none overtakes a refused one of its stream.
        if event.stream in refused:
            return BusUnavailable(f"{event.type}: stands behind an event of {event.stream} that cannot be sent")
        if len(event.data) > MAX_BODY_BYTES // 4 and (size := len(event.data.encode())) > MAX_BODY_BYTES:
            refused.add(event.stream)
            return NotSendable(f"{event.type}: {size} bytes of JSON, over the limit of {MAX_BODY_BYTES} for a message")
        try:
            answer = await exchange.publish(to_message(event), event.type, mandatory=True, timeout=self._publish_seconds)
        except asyncio.CancelledError:
            # aiormq cancels waiting publishes when the connection dies; that is no wish of ours to stop.
            return BusUnavailable("the connection ended before the confirm")
        except (OSError, TimeoutError, RuntimeError, AMQPError, aio_pika.exceptions.DeliveryError) as error:
            return BusUnavailable(f"{event.type}: {type(error).__name__} {error}")
        return None if isinstance(answer, Basic.Ack) else BusUnavailable(f"{event.type}: answered with {answer!r}")

    async def _exchange(self, laid_out: Layout) -> AbstractExchange:
        if self._publish_channel is None:
            connection = await self._connection("publish")
            self._publish_channel = await asyncio.wait_for(
                connection.channel(publisher_confirms=True, on_return_raises=True), self._publish_seconds
            )
        if laid_out.exchange not in self._exchanges:
            self._exchanges[laid_out.exchange] = await self._publish_channel.get_exchange(laid_out.exchange, ensure=False)
        return self._exchanges[laid_out.exchange]

    async def _drop_channel(self) -> None:
        channel, self._publish_channel = self._publish_channel, None
        self._exchanges.clear()
        if channel is not None:
            try:
                await asyncio.wait_for(channel.close(), 2)
            except (OSError, TimeoutError, RuntimeError, AMQPError, asyncio.CancelledError) as error:
                _log.info("channel ended before it was closed", error=repr(error))

    async def backlog(self, subscription: Subscription) -> int:
        """See the port."""
        connection = await self._connection("publish")
        try:
            channel = await connection.channel()
            queues = [await channel.declare_queue(name, passive=True) for name in layout(subscription).queues]
            await channel.close()
        except _LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not tell what waits for {subscription.consumer}: {error}") from error
        return sum(queue.declaration_result.message_count or 0 for queue in queues)

    async def consume(self, subscription: Subscription, handle: Handle) -> Callable[[], Awaitable[None]]:
        """See the port."""
        intakes = [Intake(queue, handle) for queue in layout(subscription).queues]
        try:
            for intake in intakes:
                await intake.start(await self._connection("consume"), self._prefetch)
        except _LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not give out the queues of {subscription.consumer}: {error}") from error

        async def stop() -> None:
            await asyncio.gather(*(intake.stop() for intake in intakes))

        return stop

    async def bind_foreign(self, subscription: Subscription) -> None:
        """See the port. The topic exchange is declared as its owner is asked to: durable, routing key = event type."""
        connection = await self._connection("publish")
        source = f"{subscription.producer}.events"
        try:
            channel = await connection.channel()
            await channel.declare_exchange(source, "topic", durable=True)
            own = await channel.get_exchange(layout(subscription).exchange, ensure=False)
            for event_type in sorted(subscription.event_types):
                await own.bind(source, event_type)
            await channel.close()
        except _LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ refuses to bind {subscription.consumer} to {source}: {error}") from error

    async def close(self) -> None:
        """See the port."""
        for connection in self._connections.values():
            await connection.close()


async def _declare(channel: AbstractChannel, laid_out: Layout) -> None:
    exchange = await channel.declare_exchange(
        laid_out.exchange, laid_out.exchange_type, durable=True, arguments=dict(laid_out.exchange_arguments)
    )
    for name in laid_out.queues:
        queue = await channel.declare_queue(name, durable=True, arguments=dict(QUEUE_ARGUMENTS))
        await queue.bind(exchange, laid_out.binding_key)
