"""Choreography, for what needs no saga: one pure function from an event, of this or another service, to a command of its own.

A reaction has no state, no steps and nothing to undo. What has to wait, or to be undone, is a `Saga`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sagakit.errors import InvalidInput
from sagakit.messages import Command, Event, RecordedEvent

E = TypeVar("E", bound=Event)
Answer = Command | Sequence[Command] | None
Function = Callable[[E, RecordedEvent], Answer]


@dataclass(frozen=True)
class Reaction:
    """What `@reaction` makes of a function; it is listed in the service whose aggregates handle its commands.

    Delivery: each command takes effect once, under the key ``<reaction>/<event id>/<n>``. Ordering: the events of one stream
    in stream order. A refusal is an outcome: recorded under the key, not tried again.
    """

    name: str
    event: type[Event]
    function: Callable[[Any, RecordedEvent], Answer]

    def __call__(self, event: Event, recorded: RecordedEvent) -> tuple[Command, ...]:
        """Answer the commands that follow from an event, none for nothing. Raises what the function raises, `InvalidInput`."""
        answer = self.function(event, recorded)
        commands = () if answer is None else (answer,) if isinstance(answer, Command) else tuple(answer)
        if wrong := [each for each in commands if not isinstance(each, Command)]:
            raise InvalidInput(f"reaction {self.name} returned {type(wrong[0]).__name__}, which is no command")
        return commands

    def commands_for(self, events: Sequence[Event], recorded: RecordedEvent) -> Iterator[Command]:
        """List the commands that follow from what a stored event means today."""
        for event in events:
            if type(event) is self.event:
                yield from self(event, recorded)


def reaction(event: type[E], *, name: str | None = None) -> Callable[[Function[E]], Reaction]:
    """Make a function ``(event, recorded)`` that returns a command, several or None react to ``event``.

    It is pure: the same event leads to the same commands in the same order, since it may be asked again. The reaction's
    name, by default the function's, is part of its queue's name and of the commands' keys: keep it when the function moves.
    """

    def mark(function: Function[E]) -> Reaction:
        stable = name or function.__name__
        if not stable.isidentifier():
            raise InvalidInput(f"reaction {stable!r}: letters, digits and underscores only")
        if inspect.iscoroutinefunction(function):
            raise InvalidInput(f"reaction {stable} is asynchronous: it decides what follows, and the command does the work")
        return Reaction(stable, event, function)

    return mark
