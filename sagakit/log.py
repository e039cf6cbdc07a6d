"""Reads a log up to what is its head now, through the one reader: for everything that looks back rather than follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sagakit.errors import StoreUnavailable
from sagakit.messages import RecordedEvent
from sagakit.ports import EventStore

_PAGE = 500
_PAUSE_SECONDS = 0.1


async def read_to_head(store: EventStore, after: int = 0, patience_seconds: float = 10) -> AsyncIterator[RecordedEvent]:
    """Yield the events behind a position, in order, up to the highest that can be seen now.

    An empty page is not the end: it may be a hole in the positions, which the reader holds until no transaction can fill it.
    Raises `StoreUnavailable` when an open transaction holds the reader back for longer than ``patience_seconds``.
    """
    head, reader, last = await store.head(), store.reader(after), after
    waited = 0.0
    while last < head:
        page = await reader.read(_PAGE)
        if not page:
            if waited >= patience_seconds:
                raise StoreUnavailable(
                    f"service {store.service}: an open transaction holds the log at position {last}; end it, or try again later"
                )
            waited += _PAUSE_SECONDS
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        waited = 0.0
        for event in page:
            yield event
        last = page[-1].position
