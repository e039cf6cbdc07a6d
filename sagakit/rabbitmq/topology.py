"""What a subscription is on the broker: an exchange of its own, and a durable quorum queue for each partition behind it.

With one partition: fanout exchange and queue, both named like the consumer. With N: an exchange ``<consumer>.of<N>`` that hashes
the header ``stream`` over the queues ``<consumer>.of<N>.<k>``; ``<consumer>.of<N>.members`` is never sent to, its consumers are
counted. One active consumer for each queue keeps the order per stream.
Only what RabbitMQ 3.10 and 4.x both take is used here: everything durable, no argument outside `ALLOWED_QUEUE_ARGUMENTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

from sagakit.ports import Subscription

DEAD_LETTERS = "sagakit.dead"
"""Fanout exchange and queue of what was refused and has no table to be kept in. It is never dropped, and nobody consumes it."""

MAX_PARTITIONS = 64
MARKER_TYPE = "sagakit.retire"
"""The ``type`` of a producer's last message to a queue that goes out of use; of its headers, ``sagakit_retire`` repeats the
queue, and ``service`` says whose it is."""
MARKER_HEADER = "sagakit_retire"

QUEUE_ARGUMENTS: dict[str, Any] = {
    "x-queue-type": "quorum",
    # Far above any number of crashes: attempts are counted in our own database, not by the broker.
    "x-delivery-limit": 100_000,
    "x-dead-letter-exchange": DEAD_LETTERS,
    "x-dead-letter-strategy": "at-least-once",  # asks for reject-publish
    "x-overflow": "reject-publish",
    "x-single-active-consumer": True,  # a second process stands by, so that order per stream holds
}
PLAIN_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": 100_000}
ALLOWED_QUEUE_ARGUMENTS = frozenset(QUEUE_ARGUMENTS)
"""What both 3.10 and 4.x know of a quorum queue, and mean the same by."""


@dataclass(frozen=True)
class Layout:
    """The names and kinds of one consumer's exchange and queues."""

    exchange: str
    exchange_type: str
    queues: tuple[str, ...]
    members: str | None = None
    """A queue without messages: as many consumers as it has, so many processes share the others."""

    @property
    def bindings(self) -> tuple[tuple[str, str], ...]:
        """Pair each queue with the key that it is bound by: nothing at a fanout exchange, else its number."""
        return tuple((queue, "" if len(self.queues) == 1 else _key(number)) for number, queue in enumerate(self.queues))

    def routing_key(self, stream: str, event_type: str) -> str:
        """Choose the key of a message: where there are several queues, all of one stream go to the same, for ever.

        The publisher computes it (CRC-32 of the stream's name, modulo the number of queues). The broker's own hash exchange
        deals its buckets anew, in another order, when a node is started again, and then splits a stream over two queues.
        """
        return event_type if len(self.queues) == 1 else _key(crc32(stream.encode()) % len(self.queues))


def _key(number: int) -> str:
    return f"partition:{number}"  # no event type has a colon


def layout_of(consumer: str, partitions: int) -> Layout:
    """Lay a consumer with so many partitions out."""
    if partitions == 1:
        return Layout(consumer, "fanout", (consumer,))
    name = f"{consumer}.of{partitions}"
    queues = tuple(f"{name}.{number}" for number in range(partitions))
    return Layout(name, "direct", queues, f"{name}.members")


def layout(subscription: Subscription) -> Layout:
    """Lay a subscription out."""
    return layout_of(subscription.consumer, subscription.partitions)


def foreign_exchange(producer: str) -> str:
    """Name the topic exchange to which a producer of another code base publishes; the routing key is the event type."""
    return f"{producer}.events"
