"""What passes between a saga, its activities and the people who watch it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from sagakit.messages import Command

SAGA_STATUS = SearchAttributeKey.for_keyword("SagaStatus")
CORRELATION_ID = SearchAttributeKey.for_keyword("CorrelationId")
RECOVERY = "recovery"
"""The memo of a run that a person began for a saga that had ended without an outcome: a `Recovery`."""

PARENT = "parent"
"""The memo of a child saga: the workflow and the step of the saga that began it."""
UNDOABLE = "undoable"
"""The memo of a child saga: whether its parent may have it undone, so that it must not come past a pivot."""
CHILD_OUTCOME = "child_saga_outcome"
FAST_SERVICES = "fast_services"
"""The memo of a saga: the services whose steps it tries in its own process first."""

Status = Literal["running", "asking", "compensating", "completed", "compensated", "parked"]
Kind = Literal["read-only", "compensable", "pivot", "retriable"]
NOT_DONE = "not_done"


class StepRequest(BaseModel):
    """What a command activity receives. Item ``i`` has the idempotency key ``<key>/<i>``; the undo of it ``<key>/<i>/undo``.

    ``attempt`` counts what a person had tried again: a refusal is remembered under its key, so each has a key of its own.
    With ``only_if_done`` nothing is done: what was done before is looked up, and what was not never will be. ``was_done`` says
    of an undo that the saga knows its step to have been done, also where the participant has forgotten it by now.
    """

    model_config = ConfigDict(frozen=True)
    commands: list[dict[str, Any]]
    key: str
    is_undo: bool
    correlation_id: str
    causation_id: str
    actor: str
    attempt: int = 0
    only_if_done: bool = False
    was_done: bool = False
    hops: int = 0


class StepReply(BaseModel):
    """How many commands of the step took effect now or earlier.

    ``recorded`` is where the last event of a step of one command stands, as ``<stream>@<version>``; empty for a batch, and
    where a person decided instead. An event that follows from it can so name what has to be read first.
    """

    model_config = ConfigDict(frozen=True)
    done: int
    recorded: str = ""


class SagaResult(BaseModel):
    """How the saga ended: *completed*, or *compensated* with the reason.

    ``unmatched`` names the events that came for it and that it never waited for; ``journal`` is what a parent needs to undo it.
    """

    model_config = ConfigDict(frozen=True)
    status: Literal["completed", "compensated"]
    reason: str = ""
    unmatched: tuple[str, ...] = ()
    journal: str = ""


class ChildLook(BaseModel):
    """Which child of whom to wait for."""

    model_config = ConfigDict(frozen=True)
    child: str
    parent: str


class Verdict(BaseModel):
    """What a person decides about a parked step. Who and why stay in the saga's history.

    *retry* sends it again, *skip* goes on as if it were done, *supply* goes on with ``reply``, *complete* ends the saga as it
    stands. ``step`` is its number; it may be left out where one step is parked.
    """

    model_config = ConfigDict(frozen=True)
    action: Literal["retry", "skip", "supply", "complete"]
    actor: str
    reason: str
    step: int | None = None
    reply: StepReply | None = None


class Question(BaseModel):
    """What a saga asks a person, and what may be answered."""

    model_config = ConfigDict(frozen=True)
    text: str
    choices: tuple[str, ...]


class Answer(BaseModel):
    """What a person answered, and why."""

    model_config = ConfigDict(frozen=True)
    choice: str
    actor: str
    reason: str


class Slept(BaseModel):
    """What a sleep comes to."""

    model_config = ConfigDict(frozen=True)


class Wish(BaseModel):
    """Who wants something of a saga, and why."""

    model_config = ConfigDict(frozen=True)
    actor: str
    reason: str


class Arrived(BaseModel):
    """An event as it is handed to a saga that may wait for it."""

    model_config = ConfigDict(frozen=True)
    id: str
    type: str
    schema_version: int
    stream: str
    version: int
    data: str


class Recovery(BaseModel):
    """A run that goes on, or undoes, where an earlier one of the same saga ended without an outcome.

    ``letters`` and ``answers`` are what the earlier run was told.
    """

    model_config = ConfigDict(frozen=True)
    way: Literal["resume", "compensate"]
    actor: str
    reason: str
    letters: tuple[Arrived, ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass
class Step:
    """A step as the saga shows it. Steps of one ``group`` went side by side.

    ``aggregates`` are the ids of the first ones that it touches, ``saga`` the workflow id of a child that it begins.
    """

    number: int
    name: str
    items: int
    kind: Kind
    group: int | None = None
    state: str = "running"
    attempts: int = 1
    since: str = ""
    aggregates: tuple[str, ...] = ()
    saga: str = ""


@dataclass
class Undo:
    """What undoes a step, and the key of what it undoes. ``by`` undoes what no command does: a child saga."""

    step: Step
    key: str
    commands: Sequence[Command]
    by: Callable[[], Coroutine[Any, Any, None]] | None = None


def first_attributes(correlation_id: str) -> TypedSearchAttributes:
    """Make what every run of a saga is started with."""
    return TypedSearchAttributes(
        [SearchAttributePair(SAGA_STATUS, "running"), SearchAttributePair(CORRELATION_ID, correlation_id)]
    )
