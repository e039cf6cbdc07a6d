"""Drives `aggregates/`: a class decides what a command does and evolves by what has happened.

Pure: a handler may read its own state and its command, an applier its event; no I/O, no clock, no randomness.
Source: the decider pattern, https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from sagakit.errors import InvalidInput
from sagakit.messages import Command, Event

C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)
A = TypeVar("A")
Decision = Event | Iterable[Event] | None


def handles(command: type[C]) -> Callable[[Callable[[A, C], Decision]], Callable[[A, C], Decision]]:
    """Mark the method that decides about ``command``: it raises a `DomainError` or returns the events that follow."""

    def mark(method: Callable[[A, C], Decision]) -> Callable[[A, C], Decision]:
        method.__sagakit_handles__ = command  # type: ignore[attr-defined]
        return method

    return mark


def applies(event: type[E]) -> Callable[[Callable[[A, E], None]], Callable[[A, E], None]]:
    """Mark the method that evolves the state by ``event``; it never fails and never decides."""

    def mark(method: Callable[[A, E], None]) -> Callable[[A, E], None]:
        method.__sagakit_applies__ = event  # type: ignore[attr-defined]
        return method

    return mark


class Aggregate(BaseModel):
    """One consistency boundary, one stream per instance. State is pydantic fields, each with a default."""

    model_config = ConfigDict(extra="forbid")
    category: ClassVar[str]
    command_handlers: ClassVar[dict[type[Command], str]]
    event_appliers: ClassVar[dict[type[Event], str]]
    snapshot_every: ClassVar[int]
    fold_version: ClassVar[int]

    id: str
    version: int = 0

    def __init_subclass__(cls, **_class_arguments: Any) -> None:
        """Leave the class arguments to `__pydantic_init_subclass__`, which runs once the fields are known."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]
        cls, *, category: str, snapshot_every: int = 0, fold_version: int = 1, **kwargs: Any
    ) -> None:
        """Take the category (the part of the stream name before the dash) and collect the marked methods.

        ``snapshot_every`` keeps a snapshot of the state every so many events, 0 keeps none. ``fold_version`` is raised when
        code outside the aggregate's module changes what its appliers come to: older snapshots are then thrown away.
        """
        super().__pydantic_init_subclass__(**kwargs)
        if not category.isidentifier():
            raise InvalidInput(f"{cls.__name__}: category={category!r} may hold letters, digits and underscores only")
        if snapshot_every < 0 or fold_version < 1:
            raise InvalidInput(f"{cls.__name__}: snapshot_every counts events, from 0, and fold_version counts from 1")
        cls.category, cls.command_handlers, cls.event_appliers = category, {}, {}
        cls.snapshot_every, cls.fold_version = snapshot_every, fold_version
        for name, method in vars(cls).items():
            if command := getattr(method, "__sagakit_handles__", None):
                cls.command_handlers[command] = name
            if event := getattr(method, "__sagakit_applies__", None):
                cls.event_appliers[event] = name

    @classmethod
    def stream_of(cls, aggregate_id: str) -> str:
        """Name the stream of one instance."""
        return f"{cls.category}-{aggregate_id}"

    @property
    def exists(self) -> bool:
        """True once the first event has happened."""
        return self.version > 0

    def decide(self, command: Command) -> tuple[Event, ...]:
        """Ask the handler; the state is untouched. Raises a `DomainError` when the business says no."""
        name = self.command_handlers.get(type(command))
        if name is None:
            raise InvalidInput(f"{type(self).__name__} does not handle {command.command_name}")
        decision = getattr(self, name)(command)
        if decision is None:
            return ()
        return (decision,) if isinstance(decision, Event) else tuple(decision)

    def evolve(self, events: Iterable[Event], *, version: int | None = None) -> Self:
        """Apply events in order; each moves the version on by one, whether an applier looks at it or not.

        ``version`` is for stored events, which an upcaster may have split or dropped: the version of the stored one.
        """
        count = 0
        for count, event in enumerate(events, 1):  # noqa: B007 counted for what is behind the loop
            if name := self.event_appliers.get(type(event)):
                getattr(self, name)(event)
        # Past pydantic's own way to set a field, which costs as much as applying an event.
        self.__dict__["version"] = self.version + count if version is None else version
        return self
