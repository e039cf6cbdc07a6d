"""Reads every stored event of a log through today's code, changing nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sagakit.errors import UnreadableEvent
from sagakit.log import read_to_head
from sagakit.messages import Registry
from sagakit.ports import EventStore


@dataclass(frozen=True)
class Verified:
    """How far a log was read; ``failure`` is the first event that does not load, with ``why``."""

    service: str
    read: int
    upcast: int
    failure: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


async def verify(store: EventStore, registry: Registry) -> Verified:
    """Read a log up to what is its head now; stop at the first event that does not load.

    Raises `StoreUnavailable` when an open transaction holds the reader back for long.
    """
    read = upcast = 0
    async for event in read_to_head(store):
        try:
            registry.decode_all(event)
        except UnreadableEvent as error:
            failure = {
                "position": event.position,
                "stream": event.stream,
                "version": event.version,
                "type": event.type,
                "schema_version": event.schema_version,
                "why": error.why,
            }
            return Verified(store.service, read, upcast, failure)
        read += 1
        upcast += (event.type, event.schema_version) in registry.upcasting.steps
    return Verified(store.service, read, upcast)
