"""What people decided about sagas, and what came too late for one: events in the log of its service, which outlives histories."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sagakit.messages import Event

RECORD_DECISION = "record_saga_decision"
CATEGORY = "sagakit_saga"


class SagaDecided(Event, name="sagakit.saga_decided", version=1):
    """A person decided about a saga: about a parked step, a question, or the saga as a whole."""

    saga: str
    action: str
    about: str
    actor: str
    reason: str


class EventUnmatched(Event, name="sagakit.event_unmatched", version=1):
    """An event came for a saga that had ended: it was handed to nobody."""

    saga: str
    type: str
    event_id: str
    producer: str
    stream: str


class Decision(BaseModel):
    """What the recording activity receives; ``number`` counts the decisions of one saga run, so that a retry repeats none."""

    model_config = ConfigDict(frozen=True)
    saga: str
    run_id: str
    number: int
    action: str
    about: str
    actor: str
    reason: str
    correlation_id: str
