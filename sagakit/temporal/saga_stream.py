"""Appends to a saga's own stream, in the log of its service: what it sends, what people decided, what came too late."""

from __future__ import annotations

import asyncio

from sagakit.errors import ConcurrencyError, DuplicateCommand
from sagakit.messages import NewEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, EventStore

_CONFLICT_SECONDS = 0.05


async def append_once(store: EventStore, stream: str, envelope: NewEvent, key: str) -> CommandOutcome:
    """Append an event under a key. Delivery: once, however often it is tried; answers what became of the key."""
    while True:
        version = len(await store.load(stream))
        outcome = CommandOutcome(status="done", stream=stream, version=version + 1, events=(envelope.type,))
        try:
            await store.append(Append(stream, version, (envelope,), key, outcome))
        except DuplicateCommand as duplicate:
            return duplicate.outcome
        except ConcurrencyError:
            await asyncio.sleep(_CONFLICT_SECONDS)
        else:
            return outcome
