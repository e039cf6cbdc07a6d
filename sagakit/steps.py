"""What passes between a saga, its activities and the people who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from temporalio.common import SearchAttributeKey

from sagakit.messages import Command

SAGA_STATUS = SearchAttributeKey.for_keyword("SagaStatus")
CORRELATION_ID = SearchAttributeKey.for_keyword("CorrelationId")

Status = Literal["running", "compensating", "completed", "compensated", "parked"]


class StepRequest(BaseModel):
    """What a command activity receives. Item ``i`` has the idempotency key ``<key>/<i>``; the undo of it ``<key>/<i>/undo``."""

    model_config = ConfigDict(frozen=True)
    commands: list[dict[str, Any]]
    key: str
    is_undo: bool
    correlation_id: str
    causation_id: str
    actor: str
    hops: int = 0


class StepReply(BaseModel):
    """How many commands of the step took effect now or earlier."""

    model_config = ConfigDict(frozen=True)
    done: int


class SagaResult(BaseModel):
    """How the saga ended: *completed*, or *compensated* with the reason."""

    model_config = ConfigDict(frozen=True)
    status: Literal["completed", "compensated"]
    reason: str = ""


class Verdict(BaseModel):
    """What a person decides about a parked step. Who and why stay in the saga's history."""

    model_config = ConfigDict(frozen=True)
    action: Literal["retry", "skip"]
    actor: str
    reason: str


@dataclass
class Step:
    """A step as the saga shows it: its kind is compensable, pivot, retriable or plain."""

    number: int
    name: str
    items: int
    kind: str
    state: str = "running"


@dataclass
class Undo:
    """What undoes a step, and the key of what it undoes."""

    step: Step
    key: str
    commands: Sequence[Command]
