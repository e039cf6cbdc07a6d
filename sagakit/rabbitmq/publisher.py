"""Events to one exchange, as many in flight as the window allows; only a confirm for certain is a success.

Delivery: at least once. A channel on which the fate of anything is unknown is never used again: what is still on its way there
may arrive, and the same ids are sent again (failures B4, B5, B9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aio_pika import Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp.commands import Basic

from sagakit import crash_points
from sagakit.errors import BusUnavailable, InvalidInput, NotSendable
from sagakit.messages import RecordedEvent
from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors
from sagakit.rabbitmq.link import Link, close_channel
from sagakit.rabbitmq.messages import MAX_BODY_BYTES, to_message
from sagakit.rabbitmq.topology import Layout

WINDOW = 256
MAX_CHANNELS = 64
"""A channel per subscription, up to so many; further subscriptions share them."""

Outgoing = tuple[Message, str]  # with its routing key
Send = Callable[[AbstractChannel, str, Sequence[Outgoing], float], Awaitable[list[Exception | None]]]
"""Publish to an exchange, mandatory, in this order; answer each with None only for Basic.Ack; never longer than the seconds."""
_LONGEST_ROUTING_KEY = 255
_MAX_HEADER_BYTES = 128 * 1024 - 64  # RabbitMQ's default frame_max, less what is around it
_BLOCKED = "blocked by an alarm of RabbitMQ (memory or disk): free some, or raise its limit; the events wait in the log"
ENCODING_ERRORS = (ValueError, TypeError, OverflowError, InvalidInput)


class Publisher:
    """Hands out a lane for each subscription, over one connection of its own."""

    def __init__(self, link: Link, send: Send, deadline_seconds: float) -> None:
        """Take the connection, the way to send a batch, and the seconds until a publish counts as unknown."""
        self._link, self._send, self._deadline = link, send, deadline_seconds
        self._lanes: list[Lane] = []
        self._lane_of: dict[str, Lane] = {}

    async def publish(self, laid_out: Layout, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """Publish to a subscription's exchange, in order; see the port."""
        answers: list[Exception | None] = []
        for start in range(0, len(events), WINDOW):
            if any(answers):
                answers += [BusUnavailable("not sent: one before it failed") for _ in events[start:]]
                break
            answers += await self._window(laid_out, events[start : start + WINDOW])
        return answers

    async def _window(self, laid_out: Layout, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        answers: list[Exception | None] = [None] * len(events)
        outgoing: dict[int, Outgoing] = {}
        held: set[str] = set()  # none may overtake an event of its stream that cannot be sent
        for place, event in enumerate(events):
            if event.stream in held:
                answers[place] = BusUnavailable(f"stands behind an event of {event.stream} that cannot be sent")
                continue
            try:
                outgoing[place] = _outgoing(event), laid_out.routing_key(event.stream, event.type)
            except NotSendable as error:
                answers[place] = error
                held.add(event.stream)
        given = await self.lane(laid_out.exchange).publish(laid_out.exchange, list(outgoing.values()))
        for place, answer in zip(outgoing, given, strict=True):
            answers[place] = answer
        return answers

    def lane(self, name: str) -> Lane:
        """Return the lane of a subscription, by the name of its exchange."""
        if name not in self._lane_of:
            if len(self._lanes) < MAX_CHANNELS:
                self._lanes.append(Lane(self._link, self._send, self._deadline))
            self._lane_of[name] = self._lanes[len(self._lane_of) % MAX_CHANNELS]
        return self._lane_of[name]


class Lane:
    """One channel, used by one batch at a time. Subscriptions on other lanes do not wait for it."""

    def __init__(self, link: Link, send: Send, deadline_seconds: float) -> None:
        """Take the connection, the way to send a batch, and the deadline."""
        self._link, self._send, self._deadline = link, send, deadline_seconds
        self._channel: AbstractChannel | None = None
        self._left_open: list[AbstractChannel] = []
        self._lock = asyncio.Lock()

    async def publish(self, exchange: str, outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        """Publish one window of messages with distinct ids. Nothing is sent while the broker has an alarm (B5, B6)."""
        async with self._lock:
            if not outgoing:
                return []
            if await self._link.is_blocked():
                return [BusUnavailable(_BLOCKED) for _ in outgoing]
            try:
                channel = await self._usable_channel()
            except LINK_ERRORS as error:
                return [BusUnavailable(f"RabbitMQ does not answer: {type(error).__name__} {error}") for _ in outgoing]
            try:
                with driver_errors():
                    answers = await self._send(channel, exchange, outgoing, self._deadline)
            except LINK_ERRORS as error:
                answers = [_Unknown(error) for _ in outgoing]
            except BaseException:
                await self._drop()
                raise
            if any(isinstance(answer, _Unknown) for answer in answers):
                await self._drop()
                answers = await self._with_what_is_known(answers, outgoing)
            return answers

    async def _usable_channel(self) -> AbstractChannel:
        if self._channel is not None and self._channel.is_closed:
            self._channel = None
        while self._left_open:
            await close_channel(self._left_open.pop())
        if self._channel is None:
            self._channel = await self._link.channel(publisher_confirms=True, on_return_raises=True)
        return self._channel

    async def _drop(self) -> None:
        """Use the channel no more."""
        channel, self._channel = self._channel, None
        if channel is None or channel.is_closed:
            return
        if await self._link.is_blocked():
            self._left_open.append(channel)  # a broker that reads nothing, for its alarm, could not answer
        elif not await close_channel(channel):
            self._link.drop()  # a black hole: whatever else waits on this connection waits in vain (B7)

    async def _with_what_is_known(self, answers: list[Exception | None], outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        is_blocked = await self._link.is_blocked()
        known: list[Exception | None] = []
        for answer, (message, _) in zip(answers, outgoing, strict=True):
            if isinstance(answer, _Unknown):
                known.append(_own_fault(answer.why, message) or BusUnavailable(_BLOCKED if is_blocked else str(answer)))
            else:
                known.append(answer)
        return known


class _Unknown(BusUnavailable):
    """The fate of a message is unknown: the channel is not to be used again."""

    def __init__(self, why: object) -> None:
        super().__init__(f"no confirm: {type(why).__name__} {why}" if isinstance(why, BaseException) else f"no confirm: {why}")
        self.why = why


async def send_one_by_one(
    channel: AbstractChannel, exchange: str, outgoing: Sequence[Outgoing], seconds: float
) -> list[Exception | None]:
    """Publish through aio-pika, a task for each message.

    All have one deadline, and are given up at once: with one each, the first to wait could be given up unwritten, and those
    behind it, a moment later, still be written. Then what is sent again would come after its followers (G3).
    """
    target = await channel.get_exchange(exchange, ensure=False)
    publishes = [target.publish(message, key, mandatory=True) for message, key in outgoing]
    return await answers_of([asyncio.ensure_future(publish) for publish in publishes], seconds)


async def answers_of(confirms: Sequence[asyncio.Future[Any]], seconds: float) -> list[Exception | None]:
    """Wait for the confirms together; what has none in time is unknown."""
    try:
        await asyncio.sleep(0)  # the publishes have begun
        crash_points.reached(crash_points.FEED_SENT)
        await asyncio.wait(confirms, timeout=seconds)
    finally:
        late = {confirm for confirm in confirms if not confirm.done()}
        for confirm in late:
            confirm.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return [_Unknown(f"none in {seconds} s") if confirm in late else _answer_of(confirm) for confirm in confirms]


def _answer_of(confirm: asyncio.Future[Any]) -> Exception | None:
    """Take Basic.Ack for a success, and nothing else."""
    # The driver cancels publishes that wait on a connection that ends: that is a loss, no wish of ours (B7).
    if confirm.cancelled():
        return _Unknown("the connection ended")
    error = confirm.exception()
    if error is None:
        answer = confirm.result()
        return None if isinstance(answer, Basic.Ack) else BusUnavailable(f"answered with {answer!r}")
    if isinstance(error, DeliveryError):
        if isinstance(error.frame, Basic.Return):
            return BusUnavailable(f"returned, no queue takes it: {error}")
        return BusUnavailable(f"refused by RabbitMQ: {error}")
    if isinstance(error, ENCODING_ERRORS):
        return NotSendable(f"it cannot be written as a message: {error}")
    return _Unknown(error)


def _outgoing(event: RecordedEvent) -> Message:
    try:
        message = to_message(event)
    except ENCODING_ERRORS as error:
        raise NotSendable(f"{_place(event)} cannot be written as a message: {error}") from error
    if len(message.body) > MAX_BODY_BYTES:
        raise NotSendable(f"{_place(event)} has {len(message.body)} bytes, and no consumer takes more than {MAX_BODY_BYTES}")
    if (length := len(event.type.encode())) > _LONGEST_ROUTING_KEY:
        longest = f"the {_LONGEST_ROUTING_KEY} of a routing key"
        raise NotSendable(f"{_place(event)}: a type name of {length} bytes is longer than {longest}")
    size = sum(4 * len(value) for value in message.headers.values() if isinstance(value, str))
    if size > _MAX_HEADER_BYTES and (size := len(message.properties.marshal())) > _MAX_HEADER_BYTES:
        raise NotSendable(f"{_place(event)} has {size} bytes of headers, and a frame of RabbitMQ holds {_MAX_HEADER_BYTES}")
    return message


def _place(event: RecordedEvent) -> str:
    return f"{event.type} {event.id} ({event.stream} version {event.version})"


def _own_fault(why: object, message: Message) -> NotSendable | None:
    """Find the message that made the broker close the channel: it names the size that it refused."""
    if isinstance(why, ChannelPreconditionFailed) and "message size" in str(why) and str(len(message.body)) in str(why):
        return NotSendable(f"message {message.message_id} of {len(message.body)} bytes is over RabbitMQ's own limit: {why}")
    return None
