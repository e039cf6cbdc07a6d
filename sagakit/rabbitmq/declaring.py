"""Makes exchanges, queues and bindings, and asks what is there. Everything done again changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from sagakit.errors import BusUnavailable
from sagakit.ports import Subscription
from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors
from sagakit.rabbitmq.link import Link, close_channel
from sagakit.rabbitmq.topology import (
    DEAD_LETTERS,
    PLAIN_ARGUMENTS,
    QUEUE_ARGUMENTS,
    Layout,
    foreign_exchange,
    layout,
)

T = TypeVar("T")


async def on_a_channel(link: Link, work: Callable[[AbstractChannel], Awaitable[T]]) -> T:
    """Do something on a channel of its own, since a refusal ends the channel. Raises one of `LINK_ERRORS`."""
    channel = await link.channel(publisher_confirms=False)
    try:
        with driver_errors():
            return await work(channel)
    finally:
        if not channel.is_closed:
            await close_channel(channel)


async def declare_all(link: Link, subscriptions: Sequence[Subscription]) -> None:
    """Declare the dead letters, and each subscription's exchange, queues and bindings. Raises `BusUnavailable`."""

    async def declare(channel: AbstractChannel) -> None:
        await _declare_dead_letters(channel)
        for subscription in subscriptions:
            await _declare(channel, layout(subscription))

    try:
        await on_a_channel(link, declare)
    except ChannelPreconditionFailed as error:
        raise BusUnavailable(
            f"RabbitMQ has a queue or exchange of another kind: {error}. `topology check` names it; what a queue is declared "
            "with cannot be changed, so exchange the queues: docs/delivery.md, section Topology"
        ) from error
    except LINK_ERRORS as error:
        raise BusUnavailable(f"RabbitMQ refuses the queues of this system: {type(error).__name__} {error}") from error


async def _declare_dead_letters(channel: AbstractChannel) -> None:
    exchange = await channel.declare_exchange(DEAD_LETTERS, "fanout", durable=True)
    queue = await channel.declare_queue(DEAD_LETTERS, durable=True, arguments=dict(PLAIN_ARGUMENTS))
    await queue.bind(exchange, "")


async def _declare(channel: AbstractChannel, laid_out: Layout) -> None:
    exchange = await channel.declare_exchange(laid_out.exchange, laid_out.exchange_type, durable=True)
    for name, key in laid_out.bindings:
        queue = await channel.declare_queue(name, durable=True, arguments=dict(QUEUE_ARGUMENTS))
        await queue.bind(exchange, key)
    if laid_out.members is not None:
        await channel.declare_queue(laid_out.members, durable=True, arguments=dict(PLAIN_ARGUMENTS))


async def bind_to_foreign(link: Link, subscription: Subscription) -> None:
    """Bind the consumer's exchange, which exists, to its producer's topic exchange. Raises `BusUnavailable`.

    What comes from there has its type as the routing key, so that of several queues the first takes all of it, in order.
    """

    async def bind(channel: AbstractChannel) -> None:
        source = await channel.declare_exchange(foreign_exchange(subscription.producer), "topic", durable=True)
        laid_out = layout(subscription)
        target = await channel.get_exchange(laid_out.exchange, ensure=False)
        first = await channel.get_queue(laid_out.queues[0], ensure=False)
        for event_type in sorted(subscription.event_types):
            if len(laid_out.queues) > 1:
                await first.bind(target, event_type)
            await target.bind(source, event_type)

    try:
        await on_a_channel(link, bind)
    except LINK_ERRORS as error:
        raise BusUnavailable(f"RabbitMQ does not bind {subscription.consumer} to {subscription.producer}: {error}") from error


async def counts_of(channel: AbstractChannel, queue: str) -> tuple[int, int]:
    """Count the messages and the consumers of a queue; of one with a single active consumer, 3.10 counts that one alone."""
    found = (await channel.declare_queue(queue, passive=True)).declaration_result
    return found.message_count or 0, found.consumer_count or 0


async def message_count(link: Link, queue: str) -> int | None:
    """Count the messages that wait in a queue; None when there is no such queue. Raises one of `LINK_ERRORS`."""

    async def look(channel: AbstractChannel) -> int:
        return (await counts_of(channel, queue))[0]

    try:
        return await on_a_channel(link, look)
    except ChannelNotFoundEntity:
        return None


async def consumer_count(link: Link, queue: str) -> int:
    """Count the consumers of a queue, as `counts_of` does. Raises one of `LINK_ERRORS`."""

    async def look(channel: AbstractChannel) -> int:
        return (await counts_of(channel, queue))[1]

    return await on_a_channel(link, look)


async def delete_queue(link: Link, name: str) -> None:
    """Delete a queue with whatever is in it; one that is not there is no error. A quorum queue knows no if_unused or if_empty."""

    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete(name, if_unused=False, if_empty=False)

    await on_a_channel(link, delete)


async def delete_exchange(link: Link, name: str) -> None:
    """Delete an exchange that nothing is bound to; one that is not there is no error."""

    async def delete(channel: AbstractChannel) -> None:
        await channel.exchange_delete(name, if_unused=True)

    await on_a_channel(link, delete)
