"""Reads every stored event of a log through today's code, changing nothing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from sagakit.errors import StoreUnavailable, UnreadableEvent
from sagakit.messages import Registry
from sagakit.ports import EventStore

_PAGE = 500
_PATIENCE_SECONDS = 10.0


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
    head, reader = await store.head(), store.reader(0)
    read = upcast = last = 0
    waited = 0.0
    while last < head:
        page = await reader.read(_PAGE)
        if not page:
            # A hole in the positions: the reader waits until no transaction can fill it.
            if waited > _PATIENCE_SECONDS:
                raise StoreUnavailable(f"service {store.service}: an open transaction holds the log at position {last}")
            waited += 0.1
            await asyncio.sleep(0.1)
            continue
        waited = 0.0
        for event in page:
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
        last = page[-1].position
    return Verified(store.service, read, upcast)
