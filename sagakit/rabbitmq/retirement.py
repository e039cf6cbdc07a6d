"""Takes the queues of a former number of partitions out of use: the producer's half. The consumer's is in `intake`.

Safe to die at any moment: the markers may be sent twice, since nothing but copies can come behind the first; a queue that is
gone is gone; and only when all are gone is the answer true, which the producer then records.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aio_pika import DeliveryMode, Message

from sagakit.ports import Subscription
from sagakit.rabbitmq.declaring import delete_exchange, delete_queue, message_count
from sagakit.rabbitmq.link import Link
from sagakit.rabbitmq.topology import MARKER_HEADER, MARKER_TYPE, layout_of

SendTo = Callable[[str, Message, str], Awaitable[Exception | None]]
"""Publish one message to an exchange with a routing key, confirmed."""
_AGAIN_SECONDS = 30.0  # a marker that somebody took out of the queue would be waited for in vain


class Retirement:
    """Remembers which queues have their marker, so that each gets it once while this process lives, or seldom again."""

    def __init__(self, link: Link, send: SendTo) -> None:
        """Take a connection that asks what is there, and the way to publish."""
        self._link, self._send = link, send
        self._marked: dict[tuple[str, str], float] = {}

    async def go_on(self, subscription: Subscription, former_partitions: int) -> bool:
        """See `Bus.retire`. Raises one of `LINK_ERRORS`, or what a publish failed with."""
        former = layout_of(subscription.consumer, former_partitions)
        left = [queue for queue in former.queues if await message_count(self._link, queue) is not None]
        for queue in left:
            key = queue, subscription.producer
            if time.monotonic() - self._marked.get(key, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
                failure = await self._send("", marker_of(queue, subscription.producer), queue)
                if failure is not None:
                    raise failure
                self._marked[key] = time.monotonic()
        if left:
            return False
        await delete_exchange(self._link, former.exchange)
        if former.members is not None:
            await delete_queue(self._link, former.members)
        for queue in former.queues:
            self._marked.pop((queue, subscription.producer), None)
        return True


def marker_of(queue: str, producer: str) -> Message:
    """Make the last message of a producer to a queue."""
    return Message(
        b"",
        headers={MARKER_HEADER: queue, "service": producer},
        type=MARKER_TYPE,
        message_id=f"retire {queue} {producer}",
        delivery_mode=DeliveryMode.PERSISTENT,
    )
