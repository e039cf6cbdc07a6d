"""Keeps what came for a saga that had ended, so that a person sees it: an event in the log of the saga's service."""

from __future__ import annotations

from sagakit.messages import Metadata, RecordedEvent, new_event
from sagakit.ports import EventStore
from sagakit.saga_journal import CATEGORY, EventUnmatched
from sagakit.steps import Arrived
from sagakit.temporal.saga_stream import append_once


async def record_unmatched(store: EventStore, saga: str, arrived: Arrived, recorded: RecordedEvent) -> None:
    """Record it in the saga's stream. Delivery: once for each event, however often that comes."""
    stream, key = f"{CATEGORY}-{saga}", f"{saga}/unmatched/{arrived.id}"
    event = EventUnmatched(saga=saga, type=arrived.type, event_id=arrived.id, producer=recorded.service, stream=recorded.stream)
    metadata = Metadata(
        correlation_id=recorded.metadata.correlation_id, causation_id=str(recorded.id), command_key=key, actor="sagakit"
    )
    await append_once(store, stream, new_event(event, metadata), key)
