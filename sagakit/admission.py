"""What a command and its events must be before anything is sent to a database."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import BaseModel, TypeAdapter, ValidationError

from sagakit.errors import InvalidInput
from sagakit.messages import Command, Identifier, NewEvent

MAX_EVENT_BYTES = 256 * 1024
_LARGEST_INTEGER = 2**63 - 1  # what every database and every language's long holds
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON writes it; behind an escaped backslash it is text
_identified = TypeAdapter[str](Identifier).validator.validate_python


def admit(command: Command) -> str:
    """Return the id of the aggregate that a command goes to.

    Raises `InvalidInput` when it names none, or when the command holds an integer of more than 64 bits.
    """
    try:
        aggregate_id: str = _identified(command.aggregate_id)
    except ValidationError as error:
        raise InvalidInput(f"{command.command_name}: {command.id_field} {error.errors()[0]['msg']}") from None
    for name, field in vars(command).items():
        kind = type(field)
        if kind is str or (kind is int and -_LARGEST_INTEGER <= field <= _LARGEST_INTEGER):
            continue  # most fields are, and nothing is to be looked for in them
        for place, value in _values(name, field):
            if type(value) is int and abs(value) > _LARGEST_INTEGER:
                raise InvalidInput(f"{command.command_name}: {place} is an integer of more than 64 bits")
    return aggregate_id


def admit_events(command: Command, envelopes: Iterable[NewEvent]) -> None:
    """Refuse an event that a store could not hold. Raises `InvalidInput`."""
    for envelope in envelopes:
        # A character is at most four bytes: most events need not be encoded to be measured.
        if len(envelope.data) * 4 > MAX_EVENT_BYTES and len(envelope.data.encode()) > MAX_EVENT_BYTES:
            raise InvalidInput(f"{command.command_name}: its event {envelope.type} is over 256 KiB; store a reference instead")
        if "\\u0000" in envelope.data and _NUL.search(envelope.data):
            raise InvalidInput(
                f"{command.command_name}: its event {envelope.type} holds the character U+0000, "
                "which not every database can store; leave it out"
            )


def _values(name: str, field: object) -> Iterable[tuple[str, object]]:
    """List the plain values in a field, each with its place."""
    waiting: list[tuple[str, object]] = [(name, field)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, BaseModel):
            waiting += [(f"{place}.{name}", each) for name, each in vars(value).items()]
        elif isinstance(value, dict):
            waiting += [(f"{place}.{name}", each) for name, each in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(f"{place}.{number}", each) for number, each in enumerate(value)]
        else:
            yield place, value
