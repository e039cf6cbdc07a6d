"""The wire contract for other languages: an AsyncAPI 3.0 document, and a JSON Schema for each event type and version.

Made from the list of services, and from the contract lock for versions that no class reads any more but logs may hold. The same
code gives the same bytes. `docs/messages.md` says in words what a schema cannot.
Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagakit.contracts import Lock
from sagakit.errors import InvalidInput
from sagakit.service import ServiceMap

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What pydantic writes under these may lack the offset, or have the sign, that the formats' RFC 3339 does not allow.
_LOOSE_FORMATS = {"date-time", "time", "duration"}
_TEXT = {"type": "string", "minLength": 1}
HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["cloudEvents:specversion", "cloudEvents:id", "cloudEvents:type", "cloudEvents:time", "stream", "version"],
    "anyOf": [{"required": ["service"]}, {"required": ["cloudEvents:source"]}],
    "properties": {
        "cloudEvents:specversion": {"const": "1.0"},
        "cloudEvents:id": {"type": "string", "format": "uuid", "description": "The event's id; message_id is the same."},
        "cloudEvents:type": _TEXT | {"description": "The stored name of the event; the routing key is the same."},
        "cloudEvents:source": _TEXT | {"description": "A slash and the service that recorded the event."},
        "cloudEvents:subject": _TEXT | {"description": "The stream."},
        "cloudEvents:time": {"type": "string", "format": "date-time", "description": "When it was recorded, with an offset."},
        "service": _TEXT | {"description": "The service that recorded the event."},
        "stream": _TEXT | {"pattern": "^[^-]+-.+$", "description": "<category>-<id>; events of one stream come in order."},
        "version": {"type": "integer", "minimum": 1, "description": "The event's place in its stream, from 1."},
        "position": {"type": "integer", "minimum": 0, "default": 0, "description": "Its place in the producer's log; grows."},
        "schema_version": {"type": "integer", "minimum": 1, "default": 1, "description": "Which schema the payload follows."},
        "correlation_id": _TEXT | {"description": "The same for one whole business conversation; default: the event's id."},
        "causation_id": _TEXT | {"description": "Id of the event, or key of the command, that directly caused this one."},
        "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        "tracestate": {"type": "string", "maxLength": 512},
        "metadata": {"type": "string", "contentMediaType": "application/json", "description": "An object; names are added."},
    },
}
"""The headers of a message, of ours and of a foreign producer's; those without a default and not required may be missing."""


@dataclass(frozen=True)
class _Described:
    name: str
    version: int
    service: str
    schema: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.name}.{self.version}"


def export(services: ServiceMap, locked: Lock | None, folder: Path) -> list[Path]:
    """Write ``asyncapi.json`` and ``schemas/<type>.<version>.json`` into a folder; other files in it are left alone.

    Raises `InvalidInput` when it cannot be written.
    """
    events = _described(services, locked)
    documents = {folder / "asyncapi.json": _asyncapi(services, events)}
    documents |= {folder / "schemas" / f"{event.key}.json": {"$schema": _DIALECT} | event.schema for event in events}
    try:
        (folder / "schemas").mkdir(parents=True, exist_ok=True)
        for path, document in documents.items():
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return list(documents)


def _described(services: ServiceMap, locked: Lock | None) -> list[_Described]:
    found = {
        key: _Described(*key, services.producer_of(event).name, _portable(event.model_json_schema()))
        for key, event in services.registry.events.items()
        if services.is_recorded_by_a_service(event)
    }
    producers = {event.service for event in found.values()}  # a service that is gone sends nothing
    for name, versions in (locked or {"events": {}})["events"].items():
        for version, entry in versions.items():
            if "schema" in entry and (name, int(version)) not in found and entry["service"] in producers:
                schema = {"title": name, "description": "No longer recorded; logs may hold it."} | _portable(entry["schema"])
                found[name, int(version)] = _Described(name, int(version), entry["service"], schema)
    return [found[key] for key in sorted(found)]


def _portable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_portable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _portable(part) for key, part in schema.items() if key != "format" or str(part) not in _LOOSE_FORMATS}


def _asyncapi(services: ServiceMap, events: list[_Described]) -> dict[str, Any]:
    producers = sorted({event.service for event in events})
    ours = {service.name for service in services.services}
    digest = hashlib.sha256(json.dumps([(event.key, event.schema) for event in events], sort_keys=True).encode()).hexdigest()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {', '.join(name for name in producers if name in ours)}",
            "version": digest[:12],  # another one exactly when a schema changed
            "description": "Generated by `contracts export`. How to consume and to publish stands in docs/messages.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "rabbitmq": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "variables": {"host": {"default": "localhost:5672", "description": "Host and port of the broker."}},
            }
        },
        "channels": {
            f"{name}.events": _channel(services, name, _of(events, name))
            if name in ours
            else _foreign_channel(name, _of(events, name))
            for name in producers
        },
        "operations": {
            f"{name}.{'send' if name in ours else 'receive'}": _operation(name, _of(events, name), is_ours=name in ours)
            for name in producers
        },
        "components": {
            "schemas": {"Headers": HEADERS},
            "messages": {event.key: _message(event) for event in events},
            "correlationIds": {"Correlation": {"location": "$message.header#/correlation_id"}},
        },
    }


def _of(events: Iterable[_Described], service: str) -> list[_Described]:
    return [event for event in events if event.service == service]


def _channel(services: ServiceMap, service: str, events: list[_Described]) -> dict[str, Any]:
    consumers = sorted({wanted.consumer for wanted in services.subscriptions() if wanted.producer == service})
    subscription = {
        "description": "The subscription's name, which is its queue; with N partitions `<name>.of<N>.<k>`, k from 0. "
        "A consumer asks the producer's operator to record it, and declares nothing."
    }
    return {
        "address": "{subscription}",
        "title": f"Events of {service}",
        "description": "Each recorded subscription has a queue of its own, in order per stream, at least once.",
        "messages": _references(events),
        "parameters": {"subscription": subscription | ({"examples": consumers} if consumers else {})},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {"durable": True, "exclusive": False, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _foreign_channel(service: str, events: list[_Described]) -> dict[str, Any]:
    """Describe the exchange of a service of another code base, which ours bind to."""
    exchange = {"name": f"{service}.events", "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": f"{service}.events",
        "title": f"Events of {service}",
        "description": "The service declares this exchange and publishes to it; the routing key is the event's type.",
        "messages": _references(events),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _references(events: list[_Described]) -> dict[str, Any]:
    return {event.key: {"$ref": f"#/components/messages/{event.key}"} for event in events}


def _operation(service: str, events: list[_Described], *, is_ours: bool) -> dict[str, Any]:
    channel = f"#/channels/{service}.events"
    return {
        "action": "send" if is_ours else "receive",
        "summary": f"{service} sends what it recorded, with publisher confirms",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event.key}"} for event in events],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "ack": True, "bindingVersion": "0.3.0"}},
    }


def _message(event: _Described) -> dict[str, Any]:
    this_one = {"cloudEvents:type": {"const": event.name}, "schema_version": {"const": event.version}}
    return {
        "name": event.name,
        "title": f"{event.name}, schema version {event.version}",
        "summary": str(event.schema.get("description", "")).partition("\n")[0],
        "contentType": "application/json",
        "headers": {"allOf": [{"$ref": "#/components/schemas/Headers"}, {"type": "object", "properties": this_one}]},
        "payload": {"$ref": f"./schemas/{event.key}.json"},
        "correlationId": {"$ref": "#/components/correlationIds/Correlation"},
        "bindings": {"amqp": {"messageType": event.name, "bindingVersion": "0.3.0"}},
    }
