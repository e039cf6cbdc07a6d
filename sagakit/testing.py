"""Given events, when a command, then events or a refusal; reactions; old events in today's form: tests without any server.

`rehearsing` plays sagas with services that are only played, on a dev server that skips time: see `sagakit.temporal.stage`.

Every scenario also checks what the repository relies on: deciding is pure (the same answer twice, the state untouched),
and an event that went through JSON is the event that was decided. Source: given/when/then of event-sourced deciders,
https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sagakit.aggregate import Aggregate
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Metadata, NewEvent, RecordedEvent, Registry, new_event
from sagakit.reactions import Reaction
from sagakit.temporal.diagram import drawn, in_document
from sagakit.temporal.faults import FAULTS, Fault
from sagakit.temporal.participants import Call
from sagakit.temporal.played import Played
from sagakit.temporal.rehearsal import Rehearsal
from sagakit.temporal.stage import Stage, rehearsing
from sagakit.temporal.telling import Later
from sagakit.temporal.walk import Scenario, Walk
from sagakit.upcasting import Key

__all__ = [
    "FAULTS",
    "Call",
    "Decided",
    "Fault",
    "Given",
    "Happened",
    "ImpureHandler",
    "ImpureReaction",
    "ImpureUpcaster",
    "Later",
    "Played",
    "Reacted",
    "Rehearsal",
    "Scenario",
    "Stage",
    "Upcast",
    "Walk",
    "drawn",
    "given",
    "given_event",
    "in_document",
    "rehearsing",
    "upcast",
]

A = TypeVar("A", bound=Aggregate)


class ImpureHandler(AssertionError):
    """A handler whose answer depends on more than its state and its command, or that changes the state it reads."""


@dataclass(frozen=True)
class Decided(Generic[A]):
    """What came of a command: compare it by `then` or `refused`."""

    aggregate: A
    command: Command
    events: tuple[Event, ...] = ()
    refusal: DomainError | None = None

    def then(self, *expected: Event) -> A:
        """Expect these events, in this order, none for nothing; return the aggregate evolved by them."""
        if self.refusal is not None:
            raise AssertionError(f"{self.command.command_name} was refused: {self.refusal}") from self.refusal
        if self.events != expected:
            raise AssertionError(f"{self.command.command_name} led to {list(self.events)}, expected {list(expected)}")
        return self.aggregate.model_copy(deep=True).evolve(self.events)

    def refused(self, expected: type[DomainError], code: str | None = None) -> DomainError:
        """Expect a refusal of this class, and of this code when one is given; return it."""
        if self.refusal is None:
            raise AssertionError(f"{self.command.command_name} led to {list(self.events)}, expected {expected.__name__}")
        if not isinstance(self.refusal, expected) or code not in (None, self.refusal.code):
            raise AssertionError(
                f"{self.command.command_name} was refused by {self.refusal!r}, expected {expected.__name__} {code or ''}"
            ) from self.refusal
        return self.refusal


@dataclass(frozen=True)
class Given(Generic[A]):
    """An aggregate type and its past."""

    aggregate_type: type[A]
    events: tuple[Event, ...]

    def when(self, command: Command) -> Decided[A]:
        """Decide about a command. Raises `ImpureHandler`, and whatever unexpected the handler raises."""
        subject = self._subject(command.aggregate_id)
        before = subject.model_dump()
        first = _decide(subject, command)
        if subject.model_dump() != before:
            raise ImpureHandler(f"the handler of {command.command_name} changes the state; an applier should")
        second = _decide(self._subject(command.aggregate_id), command)
        if (first.events, repr(first.refusal)) != (second.events, repr(second.refusal)):
            raise ImpureHandler(
                f"the handler of {command.command_name} answers the same question differently: "
                f"{first.refusal or list(first.events)}, then {second.refusal or list(second.events)}"
            )
        for event in first.events:
            if (stored := type(event).model_validate_json(event.model_dump_json())) != event:
                raise AssertionError(f"{event.event_name} comes back from the log as {stored!r}, not {event!r}")
        return first

    def _subject(self, aggregate_id: str) -> A:
        return self.aggregate_type(id=aggregate_id).evolve(self.events)


def given(aggregate_type: type[A], *events: Event) -> Given[A]:
    """Begin a scenario: an aggregate of this type to which these events have happened."""
    return Given(aggregate_type, events)


class ImpureReaction(AssertionError):
    """A reaction that answers the same event with other commands."""


@dataclass(frozen=True)
class Reacted:
    """The commands that a reaction answered with."""

    reaction: Reaction
    commands: tuple[Command, ...]

    def then(self, *expected: Command) -> None:
        """Expect these commands, in this order, none for nothing."""
        if self.commands != expected:
            raise AssertionError(f"{self.reaction.name} led to {list(self.commands)}, expected {list(expected)}")


@dataclass(frozen=True)
class Happened:
    """An event, as a log or a foreign service hands it over."""

    event: Event
    recorded: RecordedEvent

    def when(self, reaction: Reaction) -> Reacted:
        """Let a reaction answer, twice. Raises `ImpureReaction`, and whatever the reaction raises."""
        first = tuple(reaction.commands_for([self.event], self.recorded))
        second = tuple(reaction.commands_for([self.event], self.recorded))
        if first != second:
            raise ImpureReaction(f"{reaction.name} answers the same event with {list(first)}, then {list(second)}")
        return Reacted(reaction, first)


def given_event(event: Event, stream: str = "test-1", service: str = "test", **metadata: Any) -> Happened:
    """Begin a scenario: ``event`` has happened in ``stream`` of ``service``; ``metadata`` sets fields such as ``hops``.

    What the reaction gets is the event as it comes back from JSON, and an envelope with version and position 1.
    """
    stored = new_event(event, Metadata(**{"correlation_id": "test"} | metadata))
    recorded = RecordedEvent.of(stored, service=service, stream=stream, version=1, position=1, recorded_at=datetime.now(UTC))
    return Happened(type(event).model_validate_json(stored.data), recorded)


class ImpureUpcaster(AssertionError):
    """An upcaster that changes the fields it is given, or answers the same fields differently."""


@dataclass(frozen=True)
class Upcast:
    """A stored event on its way to today's form."""

    registry: Registry
    name: str
    version: int
    fields: dict[str, Any]

    def becomes(self, *expected: Event) -> None:
        """Expect these events, in this order, none for a dropped one. Raises `ImpureUpcaster`, `UnreadableEvent`."""
        self._require_pure((self.name, self.version), self.fields)
        stored = NewEvent(
            id=UUID(int=0),
            type=self.name,
            schema_version=self.version,
            data=json.dumps(self.fields),
            metadata=Metadata(correlation_id="test"),
        )
        events = self.registry.decode_all(stored)
        if events != expected:
            raise AssertionError(f"{self.name} {self.version} becomes {list(events)}, expected {list(expected)}")

    def _require_pure(self, source: Key, fields: dict[str, Any]) -> None:
        """Go along the chain, asking every upcaster twice."""
        step = self.registry.upcasting.steps.get(source)
        if step is None:
            return
        given_fields = copy.deepcopy(fields)
        first = copy.deepcopy(step(given_fields))
        if given_fields != fields:
            raise ImpureUpcaster(f"{step} changes the fields it is given; it should return new ones")
        if (second := step(copy.deepcopy(fields))) != first:
            raise ImpureUpcaster(f"{step} answers the same fields differently: {first}, then {second}")
        for name, version, new in first:
            self._require_pure((name, version), new)


def upcast(registry: Registry, name: str, version: int, fields: dict[str, Any]) -> Upcast:
    """Take a stored event, by its name, version and fields; ``registry`` is ``ServiceMap(SERVICES).registry``."""
    return Upcast(registry, name, version, fields)


def _decide(subject: A, command: Command) -> Decided[A]:
    try:
        return Decided(subject, command, subject.decide(command))
    except DomainError as refusal:
        return Decided(subject, command, refusal=refusal)
