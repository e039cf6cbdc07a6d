"""A message as it came out of a queue: of what the driver hands over, the part that is read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiormq.abc import DeliveredMessage


# Not aio-pika's message, which takes longer to make than the event that is read from it.
@dataclass(slots=True)
class WireMessage:
    """What the sender gave: the body, the headers and those of AMQP's own properties that an event may have."""

    body: bytes
    headers: dict[str, Any]
    message_id: str | None
    type: str | None
    correlation_id: str | None
    content_type: str | None
    content_encoding: str | None

    @classmethod
    def of(cls, delivered: DeliveredMessage) -> WireMessage:
        """Take it from a delivery."""
        properties = delivered.header.properties
        return cls(
            delivered.body,
            properties.headers or {},
            properties.message_id,
            properties.message_type,
            properties.correlation_id,
            properties.content_type,
            properties.content_encoding,
        )
