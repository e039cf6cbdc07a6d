"""One channel that consumes one queue: keeps what arrived in its order, and is over when the channel or the consumer ends.

What is in hand is tied to the channel it came by: it is acknowledged there or nowhere, and dropped with it (failures C2).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractChannel as DriverChannel
from aiormq.abc import DeliveredMessage

from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors
from sagakit.rabbitmq.link import close_channel
from sagakit.rabbitmq.messages import from_message
from sagakit.rabbitmq.refused import RefusedMessage
from sagakit.rabbitmq.topology import MARKER_HEADER, MARKER_TYPE
from sagakit.rabbitmq.wire_message import WireMessage

_log = structlog.get_logger("sagakit.rabbitmq")
_ACTIVE_SECONDS = 5.0


@dataclass(frozen=True)
class Marker:
    """The last message of a producer to a queue that goes out of use."""

    producer: str


@dataclass(slots=True)
class Arrived:
    """What a message is, and the number under which the broker gave it on this channel."""

    delivery_tag: int
    content: RecordedEvent | RefusedMessage | Marker


class Session:
    """Made for one channel; never used again once it is over."""

    def __init__(self, queue: str, channel: AbstractChannel) -> None:
        """Take the queue's name and a channel of its own."""
        self._queue, self._channel = queue, channel
        self._inside: DriverChannel  # from `begin` on
        self._waiting: list[Arrived] = []
        self._changed, self._over = asyncio.Event(), asyncio.Event()
        self._last_arrival = -_ACTIVE_SECONDS

    @property
    def is_over(self) -> bool:
        """True once nothing more comes out of it, and nothing can be acknowledged."""
        return self._over.is_set()

    @property
    def is_active(self) -> bool:
        """True when something waits here, or came lately."""
        return bool(self._waiting) or time.monotonic() - self._last_arrival < _ACTIVE_SECONDS

    async def begin(self, prefetch: int) -> None:
        """Consume, at most ``prefetch`` messages in hand. Raises one of `LINK_ERRORS`."""
        with driver_errors():
            self._inside = inside = await self._channel.get_underlay_channel()
            inside.on_consumer_cancel_callbacks.add(lambda _frame: self.end())
            self._channel.close_callbacks.add(lambda *_: self.end())
            await inside.basic_qos(prefetch_count=prefetch)
            await inside.basic_consume(self._queue, self._on_message)

    def end(self) -> None:
        """Give out nothing more."""
        self._over.set()
        self._changed.set()

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        if self.is_over:
            return
        self._last_arrival = time.monotonic()
        content = self._read(WireMessage.of(delivered))
        if isinstance(content, RefusedMessage):
            _log.error("refused a message", queue=self._queue, message_id=content.message_id, reason=content.reason)
        self._waiting.append(Arrived(cast("int", delivered.delivery_tag), content))
        self._changed.set()

    def _read(self, message: WireMessage) -> RecordedEvent | RefusedMessage | Marker:
        try:
            if message.type == MARKER_TYPE and message.headers.get(MARKER_HEADER) == self._queue:
                return Marker(str(message.headers.get("service")))
            return from_message(message)
        except InvalidInput as error:
            return _refused(message, str(error))
        except Exception as error:  # noqa: BLE001 from outside, so anything may be in it: it must not end the intake
            return _refused(message, f"{type(error).__name__}: {error}")

    async def batch(self) -> list[Arrived]:
        """Wait for messages and take all that are here; none once this is over, whatever had arrived."""
        while not self.is_over:
            await self._changed.wait()
            self._changed.clear()
            if self._waiting and not self.is_over:
                batch, self._waiting = self._waiting, []
                return batch
        self._waiting.clear()
        return []

    async def over(self, seconds: float) -> None:
        """Wait until this is over, at most for so long."""
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return

    async def acknowledge(self, last: Arrived) -> None:
        """Acknowledge a message and all that came before it. Where the channel ended, they come again."""
        try:
            with driver_errors():
                await self._inside.basic_ack(last.delivery_tag, multiple=True)
        except LINK_ERRORS as error:
            _log.info("not acknowledged, it comes again", queue=self._queue, error=repr(error))

    async def reject(self, refused: Arrived) -> None:
        """Send a message to the dead letters."""
        try:
            with driver_errors():
                await self._inside.basic_reject(refused.delivery_tag, requeue=False)
        except LINK_ERRORS as error:
            _log.info("not rejected, it comes again", queue=self._queue, error=repr(error))

    async def close(self) -> None:
        """End the channel; the broker gives what was not acknowledged to the next consumer."""
        self.end()
        if not self._channel.is_closed:
            await close_channel(self._channel)


def _refused(message: WireMessage, reason: str) -> RefusedMessage:
    try:
        return RefusedMessage.of(message, reason)
    except Exception as error:  # noqa: BLE001 as above
        return RefusedMessage(None, f"{reason}; nothing of it can be shown: {type(error).__name__}", {}, "", len(message.body))
