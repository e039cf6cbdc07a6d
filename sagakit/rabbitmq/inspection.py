"""What the broker has of a layout, and what differs: it only looks. Each look has a channel of its own, since a no ends it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from sagakit.errors import BusUnavailable
from sagakit.rabbitmq.declaring import counts_of, on_a_channel
from sagakit.rabbitmq.driver_errors import LINK_ERRORS
from sagakit.rabbitmq.link import Link
from sagakit.rabbitmq.topology import PLAIN_ARGUMENTS, QUEUE_ARGUMENTS, Layout

State = Literal["ok", "missing", "other arguments"]
MESSAGES_PURPOSE = "inspect"


@dataclass(frozen=True)
class QueueLook:
    """One queue as the broker has it. ``consumers`` counts the active one alone, not those that stand in line."""

    name: str
    state: State
    messages: int = 0
    consumers: int = 0
    detail: str = ""


@dataclass(frozen=True)
class LayoutLook:
    """An exchange and its queues as the broker has them. Bindings cannot be asked for by AMQP."""

    exchange: str
    state: State
    queues: tuple[QueueLook, ...]
    detail: str = ""


class Inspection:
    """Looks over a connection of its own."""

    def __init__(self, url: str, deadline_seconds: float) -> None:
        """Take the AMQP URL and the seconds in which the broker has to answer."""
        self._link = Link(url, MESSAGES_PURPOSE, deadline_seconds, 10)

    async def open(self) -> None:
        """Connect. Raises `BusUnavailable`."""
        await self._link.open()

    async def close(self) -> None:
        """Give the connection back."""
        await self._link.close()

    async def look(self, laid_out: Layout) -> LayoutLook:
        """Look at one layout. Raises `BusUnavailable`."""
        try:
            state, detail = await self._exchange(laid_out)
            queues = [await self._queue(name, QUEUE_ARGUMENTS) for name in laid_out.queues]
            if laid_out.members is not None:
                queues.append(await self._queue(laid_out.members, PLAIN_ARGUMENTS))
        except LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not tell of {laid_out.exchange}: {error}") from error
        return LayoutLook(laid_out.exchange, state, tuple(queues), detail)

    async def _exchange(self, laid_out: Layout) -> tuple[State, str]:
        async def is_there(channel: AbstractChannel) -> None:
            await channel.declare_exchange(laid_out.exchange, passive=True)

        async def is_alike(channel: AbstractChannel) -> None:
            await channel.declare_exchange(laid_out.exchange, laid_out.exchange_type, durable=True)

        return await self._compare(is_there, is_alike)

    async def _queue(self, name: str, arguments: dict[str, Any]) -> QueueLook:
        counts = (0, 0)

        async def is_there(channel: AbstractChannel) -> None:
            nonlocal counts
            counts = await counts_of(channel, name)

        async def is_alike(channel: AbstractChannel) -> None:
            await channel.declare_queue(name, durable=True, arguments=dict(arguments))

        state, detail = await self._compare(is_there, is_alike)
        return QueueLook(name, state, *counts, detail)

    async def _compare(
        self,
        is_there: Callable[[AbstractChannel], Coroutine[Any, Any, None]],
        is_alike: Callable[[AbstractChannel], Coroutine[Any, Any, None]],
    ) -> tuple[State, str]:
        """Declare again only what is there: the broker then compares, and makes nothing."""
        try:
            await on_a_channel(self._link, is_there)
            await on_a_channel(self._link, is_alike)
        except ChannelNotFoundEntity:
            return "missing", ""
        except ChannelPreconditionFailed as error:
            return "other arguments", str(error)
        return "ok", ""
