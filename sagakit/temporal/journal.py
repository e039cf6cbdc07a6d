"""The activity that records decisions about sagas in the log of their service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from sagakit.messages import Metadata, new_event
from sagakit.ports import EventStore
from sagakit.saga_journal import CATEGORY, RECORD_DECISION, Decision, SagaDecided
from sagakit.temporal.saga_stream import append_once


def recording(store: EventStore) -> Callable[..., Any]:
    """Make the activity of one service. Delivery: a decision is recorded once, however often it is tried."""

    @activity.defn(name=RECORD_DECISION)
    async def record_saga_decision(decision: Decision) -> None:
        """Append the decision to the saga's stream."""
        stream, key = f"{CATEGORY}-{decision.saga}", f"{decision.saga}/{decision.run_id}/decision/{decision.number}"
        event = SagaDecided.model_validate(decision.model_dump(include=set(SagaDecided.model_fields)))
        metadata = Metadata(correlation_id=decision.correlation_id, command_key=key, actor=decision.actor)
        await append_once(store, stream, new_event(event, metadata), key)

    return record_saga_decision
