"""How a recorded event looks on the wire: JSON body, CloudEvents 1.0 attributes and sagakit's own as headers."""

from __future__ import annotations

import json

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage
from pydantic import TypeAdapter, ValidationError

from sagakit.errors import InvalidInput
from sagakit.messages import Metadata, RecordedEvent

MAX_BODY_BYTES = 1024 * 1024
_event = TypeAdapter(RecordedEvent)


def to_message(event: RecordedEvent) -> Message:
    """Write an event; ``message_id`` is the event id, ``traceparent`` is as stored at append."""
    metadata = event.metadata
    headers: dict[str, str | int] = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": str(event.id),
        "cloudEvents:type": event.type,
        "cloudEvents:source": f"/{event.service}",
        "cloudEvents:subject": event.stream,
        "cloudEvents:time": event.recorded_at.isoformat(),
        "service": event.service,
        "stream": event.stream,
        "version": event.version,
        "position": event.position,
        "schema_version": event.schema_version,
        "correlation_id": metadata.correlation_id,
        "metadata": metadata.model_dump_json(exclude={"correlation_id", "traceparent"}),
    }
    if metadata.traceparent:
        headers["traceparent"] = metadata.traceparent
    return Message(
        event.data.encode(),
        headers=dict(headers),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(event.id),
        correlation_id=metadata.correlation_id,
        type=event.type,
    )


def from_message(message: AbstractIncomingMessage) -> RecordedEvent:
    """Read an event. Raises `InvalidInput`, naming what is missing or wrong, for anything that is not one of ours."""
    if len(message.body) > MAX_BODY_BYTES:
        raise InvalidInput(f"a message of {len(message.body)} bytes is over the limit of {MAX_BODY_BYTES}")
    headers = message.headers
    try:
        metadata = json.loads(str(headers["metadata"]))
        metadata |= {"correlation_id": headers["correlation_id"], "traceparent": headers.get("traceparent")}
        return _event.validate_python(
            {
                "id": message.message_id,
                "type": message.type,
                "schema_version": headers["schema_version"],
                "data": message.body.decode(),
                "metadata_text": Metadata.model_validate(metadata).model_dump_json(),
                "service": headers["service"],
                "stream": headers["stream"],
                "version": headers["version"],
                "position": headers["position"],
                "recorded_at": headers["cloudEvents:time"],
            }
        )
    except KeyError as error:
        raise InvalidInput(f"a message without the header {error}") from None
    except (ValidationError, ValueError, TypeError) as error:
        raise InvalidInput(f"a message that is no event: {type(error).__name__}") from None
