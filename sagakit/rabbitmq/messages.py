"""How a recorded event looks on the wire: JSON body, CloudEvents 1.0 attributes and sagakit's own as headers.

`docs/messages.md` says the same to clients in other languages: keep both. What comes in is untrusted, whoever may publish:
it is bounded first, then read strictly; a type name stays a string, which only the registry turns into a class.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from aio_pika import DeliveryMode, Message
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from sagakit.errors import InvalidInput
from sagakit.messages import Metadata, RecordedEvent
from sagakit.rabbitmq.json_text import json_object
from sagakit.rabbitmq.properties import UNDECODABLE, replace_decoding
from sagakit.rabbitmq.refused import RefusedMessage
from sagakit.rabbitmq.wire_message import WireMessage

__all__ = ["MAX_BODY_BYTES", "MAX_HEADER_LENGTH", "MAX_TRACESTATE_LENGTH", "RefusedMessage", "from_message", "to_message"]

MAX_BODY_BYTES = 1024 * 1024
MAX_HEADER_LENGTH = 8 * 1024
MAX_TRACESTATE_LENGTH = 512
_LONGEST_NAME = 255  # what fits a routing key
_LARGEST_INTEGER = 2**63 - 1
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)
_TRACE_HEADERS = ("traceparent", "tracestate")
_TEXTS = (str, bytes, bytearray)
_STREAM = re.compile(r"[^-]+-.+")
# What `model_validate` and `model_dump_json` would look up at each call.
_validate, _dump = Metadata.__pydantic_validator__.validate_python, Metadata.__pydantic_serializer__.to_json
_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

replace_decoding()


def to_message(event: RecordedEvent) -> Message:
    """Write an event, persistent; ``message_id`` is the event id, the trace context is as stored at append.

    What the metadata hold beyond the headers of their own goes into the header ``metadata``, a JSON object, also what a
    newer release put there.
    """
    metadata: dict[str, Any] = from_json(event.metadata_text)
    correlation_id: str = metadata.pop("correlation_id")
    event_id = str(event.id)
    headers: dict[str, str | int] = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": event_id,
        "cloudEvents:type": event.type,
        "cloudEvents:source": f"/{event.service}",
        "cloudEvents:subject": event.stream,
        "cloudEvents:time": event.recorded_at.isoformat(),
        "service": event.service,
        "stream": event.stream,
        "version": event.version,
        "position": event.position,
        "schema_version": event.schema_version,
        "correlation_id": correlation_id,
    }
    for name in ("causation_id", "traceparent", "tracestate"):
        if value := metadata.pop(name, None):
            headers[name] = value
    if rest := {name: value for name, value in metadata.items() if value is not None}:
        headers["metadata"] = to_json(rest).decode()
    return Message(
        event.data.encode(),
        headers=headers,  # type: ignore[arg-type]  # a dict of less
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=event_id,
        # AMQP's own property holds 255 bytes; the header holds it in any case.
        correlation_id=correlation_id if len(correlation_id) * 4 < _LONGEST_NAME else None,
        type=event.type,
    )


def from_message(message: WireMessage) -> RecordedEvent:
    """Read an event, of sagakit or of any producer that follows `docs/messages.md`.

    A producer that is not sagakit leaves out what it does not know: ``position`` is then 0, ``schema_version`` 1,
    ``correlation_id`` the event's id. Trace context that is malformed or too long is dropped, and the event is read.

    Raises `InvalidInput`, which names what is missing or wrong and never shows the body.
    """
    if len(message.body) > MAX_BODY_BYTES:
        raise InvalidInput(f"a body of {len(message.body)} bytes is over the limit of {MAX_BODY_BYTES}")
    headers = message.headers
    for name, value in headers.items():
        if type(value) in _TEXTS and len(value) > MAX_HEADER_LENGTH and name not in _TRACE_HEADERS:
            raise InvalidInput(f"the header {name!r} is longer than {MAX_HEADER_LENGTH}")
    if UNDECODABLE in headers:
        raise InvalidInput(f"the properties cannot be decoded: {headers[UNDECODABLE]}")
    data = _checked_body(message)
    if _attribute(headers, "specversion") != "1.0":
        raise InvalidInput("the header cloudEvents:specversion must be there and be 1.0")
    event_id = _uuid(_agreed(message.message_id, headers, "id"))
    metadata, text = _metadata(headers, message, event_id)
    event = RecordedEvent(
        service=_service(headers),
        position=_integer(headers, "position", 0, 0),
        stream=_stream(headers),
        version=_integer(headers, "version", 1, None),
        id=event_id,
        type=_agreed(message.type, headers, "type"),
        schema_version=_integer(headers, "schema_version", 1, 1),
        data=data,
        metadata_text=text,
        recorded_at=_time(headers),
    )
    event._metadata = metadata  # noqa: SLF001 it has been read already
    return event


def _checked_body(message: WireMessage) -> str:
    content_type = message.content_type
    if content_type and content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput("the property content_type must be application/json: CloudEvents in binary mode")
    if message.content_encoding and message.content_encoding.lower() not in {"utf-8", "identity"}:
        raise InvalidInput("the property content_encoding must be left out: the body is plain UTF-8")
    try:
        data = message.body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 at byte {error.start}") from None
    json_object(data, "the body")
    return data


def _attribute(headers: dict[str, Any], name: str) -> object:
    """Find a CloudEvents attribute under either of the prefixes that its AMQP binding allows."""
    value = headers.get("cloudEvents:" + name)
    return headers.get("cloudEvents_" + name) if value is None else value


def _agreed(given: str | None, headers: dict[str, Any], name: str) -> str:
    """Read what stands in a property of AMQP, in a CloudEvents attribute, or in both alike."""
    attribute = _attribute(headers, name)
    if given and attribute is not None and given != attribute:
        raise InvalidInput(f"the header cloudEvents:{name} differs from the message's own property")
    return _text(given or attribute, f"cloudEvents:{name}", _LONGEST_NAME)


def _text(value: object, name: str, longest: int = MAX_HEADER_LENGTH) -> str:
    if value is None:
        raise InvalidInput(f"a message without the header {name}")
    if type(value) is not str or not 0 < len(value) <= longest or (not value.isprintable() and _NO_TEXT.search(value)):
        raise InvalidInput(f"the header {name} must be text of 1 to {longest} characters, none a control character")
    return value


def _integer(headers: dict[str, Any], name: str, least: int, default: int | None) -> int:
    value = headers.get(name, default)
    if value is None:
        raise InvalidInput(f"a message without the header {name}")
    if type(value) is not int or not least <= value <= _LARGEST_INTEGER:
        raise InvalidInput(f"the header {name} must be an integer from {least} to {_LARGEST_INTEGER}")
    return value


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput("the header cloudEvents:id must be a UUID") from None


def _service(headers: dict[str, Any]) -> str:
    service = headers.get("service")
    if service is None:
        service = _text(_attribute(headers, "source"), "service or cloudEvents:source").removeprefix("/")
    if not isinstance(service, str) or len(service) > _LONGEST_NAME or not service.isidentifier():
        raise InvalidInput("the header service, or cloudEvents:source behind its slash, must be letters, digits and underscores")
    return service


def _stream(headers: dict[str, Any]) -> str:
    stream = _text(headers.get("stream"), "stream", 1024)
    if not _STREAM.fullmatch(stream):
        raise InvalidInput("the header stream must be <category>-<id>")
    return stream


def _time(headers: dict[str, Any]) -> datetime:
    try:
        time = datetime.fromisoformat(_text(_attribute(headers, "time"), "cloudEvents:time", 64))
        if time.utcoffset() is not None:
            return time
    except ValueError:
        pass
    raise InvalidInput("the header cloudEvents:time must be a time with its offset, like 2026-01-31T12:00:00Z")


def _metadata(headers: dict[str, Any], message: WireMessage, event_id: UUID) -> tuple[Metadata, str]:
    """Read where the event comes from, and how the log would hold it."""
    given = headers.get("metadata")
    fields = {} if given is None else _plain(_text(given, "metadata"))
    correlation_id = headers.get("correlation_id") or message.correlation_id or str(event_id)
    fields["correlation_id"] = _text(correlation_id, "correlation_id")
    if (causation_id := headers.get("causation_id")) is not None:
        fields["causation_id"] = _text(causation_id, "causation_id")
    traceparent, tracestate = headers.get("traceparent"), headers.get("tracestate")
    is_traced = isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent)
    fields["traceparent"] = traceparent if is_traced else None
    fields.pop("tracestate", None)
    try:
        metadata = _validate(fields)
        if is_traced and isinstance(tracestate, str) and _TRACESTATE.fullmatch(tracestate):
            return metadata, to_json(metadata.model_dump() | {"tracestate": tracestate}).decode()
        return metadata, _dump(metadata).decode()
    except ValidationError as error:  # without the values: they may be personal, and this text is logged
        wrong = sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False, include_url=False)})
        raise InvalidInput(f"the header metadata is wrong at {', '.join(wrong)}") from None


def _plain(text: str) -> dict[str, Any]:
    try:
        fields = from_json(text, allow_inf_nan=False)
    except ValueError:
        fields = None
    if type(fields) is not dict:
        raise InvalidInput("the header metadata must be a JSON object")
    return fields
