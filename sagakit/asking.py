"""Messages of a saga to services that are no Temporal workers: events in the log of the saga's own service, fenced like commands.

A message takes the way of every event: log, relay, RabbitMQ. So it is never lost, and those of one saga keep their order.
Source: request-reply and correlation identifier, Hohpe and Woolf, Enterprise Integration Patterns, 2003.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any, cast

from sagakit.errors import InvalidInput
from sagakit.messages import Command, Event


class SagaMessage(Command, name="send_message", id_field="message"):
    """What the sending activity receives: whose message it is, its type and its fields."""

    saga: str
    message: str
    fields: dict[str, Any]


@functools.cache
def sending_of(message: type[Event]) -> type[SagaMessage]:
    """Make the command that sends a message: ``pick.wanted`` is sent by the activity ``send_pick_wanted``."""
    words = {"name": f"send_{message.event_name.replace('.', '_')}", "id_field": "message"}
    made = types.new_class(f"Send{message.__name__}", (SagaMessage,), words)
    return cast("type[SagaMessage]", made)


def sendings_of(messages: Iterable[type[Event]]) -> frozenset[str]:
    """Name the activities that send these messages."""
    return frozenset(sending_of(message).command_name for message in messages)


def command_to_send(message: Event, saga: str) -> Command:
    """Wrap a message of a saga, named by its workflow id."""
    fields = message.model_dump(mode="json")
    return sending_of(type(message))(saga=saga, message=message.event_name, fields=fields)


def require_declared(
    saga_name: str, asks: Iterable[type[Event]], expects: Iterable[type[Event]], sent: Iterable[Event], reply: type[Event]
) -> None:
    """Refuse, before anything is sent, a message or a reply that the saga's class does not declare. Raises `InvalidInput`."""
    for message in sent:
        if type(message) not in asks:
            raise InvalidInput(f"{saga_name} does not say in asks= that it sends {type(message).__name__}")
    if reply not in expects:
        raise InvalidInput(f"{saga_name} does not say in expects= which field of {reply.__name__} names it")
