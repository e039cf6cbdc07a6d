"""The activity that records decisions about sagas in the log of their service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio import activity

from sagakit.errors import ConcurrencyError, DuplicateCommand
from sagakit.messages import Metadata, new_event
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, EventStore
from sagakit.saga_journal import CATEGORY, RECORD_DECISION, Decision, SagaDecided

_CONFLICT_SECONDS = 0.05


def recording(store: EventStore) -> Callable[..., Any]:
    """Make the activity of one service. Delivery: a decision is recorded once, however often it is tried."""

    @activity.defn(name=RECORD_DECISION)
    async def record_saga_decision(decision: Decision) -> None:
        """Append the decision to the saga's stream."""
        stream, key = f"{CATEGORY}-{decision.saga}", f"{decision.saga}/{decision.run_id}/decision/{decision.number}"
        event = SagaDecided.model_validate(decision.model_dump(include=set(SagaDecided.model_fields)))
        metadata = Metadata(correlation_id=decision.correlation_id, command_key=key, actor=decision.actor)
        outcome = CommandOutcome(status="done", stream=stream, events=(event.event_name,))
        while True:
            version = len(await store.load(stream))
            try:
                await store.append(Append(stream, version, (new_event(event, metadata),), key, outcome))
            except DuplicateCommand:
                return
            except ConcurrencyError:
                await asyncio.sleep(_CONFLICT_SECONDS)
            else:
                return

    return record_saga_decision
