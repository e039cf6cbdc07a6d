"""A message as it comes out of a queue, without a broker: encoded and decoded as on the wire."""

from __future__ import annotations

from typing import Any

from aio_pika import Message
from aiormq.abc import DeliveredMessage
from pamqp import commands, header

from sagakit.rabbitmq.wire_message import WireMessage


def incoming(message: Message) -> WireMessage:
    properties = header.ContentHeader(0, len(message.body), message.properties)
    decoded = header.ContentHeader()
    decoded.unmarshal(properties.marshal())
    return delivered(decoded, message.body)


def delivered(content: header.ContentHeader, body: bytes) -> WireMessage:
    deliver = commands.Basic.Deliver(consumer_tag="tag", delivery_tag=1, exchange="exchange", routing_key="key")
    channel: Any = None
    return WireMessage.of(DeliveredMessage(deliver, content, body, channel))


def loose(body: bytes, headers: dict[str, Any], **properties: Any) -> WireMessage:
    """Hold these very values, whether or not a wire could carry them."""
    message = incoming(Message(body))
    message.headers = headers
    for name, value in properties.items():
        setattr(message, name, value)
    return message
