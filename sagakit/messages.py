"""The vocabulary: events, commands, the envelope around an event, and the registry of known names.

A stored name comes from the class statement (``class OrderPlaced(Event, name="order.placed", version=1)``), never from a
module path, so that code can move without touching history. Only registered names are ever turned into classes.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json, to_json
from uuid_utils.compat import uuid7

from sagakit.errors import InvalidInput, UnknownMessage, UnreadableEvent
from sagakit.upcasting import Upcaster, Upcasting

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_COMMAND_NAME = re.compile(r"[a-z][a-z0-9_]*")

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
"""What may name an aggregate: 1 to 200 characters, none of them a control character."""


class Event(BaseModel):
    """A fact, in the past tense. Fields that a newer writer added are ignored, so old code reads new events."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    event_name: ClassVar[str]
    schema_version: ClassVar[int]

    def __init_subclass__(cls, **_class_arguments: Any) -> None:
        """Leave the class arguments to `__pydantic_init_subclass__`, which runs once the fields are known."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str, version: int = 1, **kwargs: Any) -> None:  # type: ignore[override]
        """Take the stable stored name (``order.placed``) and the schema version, from 1."""
        super().__pydantic_init_subclass__(**kwargs)
        if not _EVENT_NAME.fullmatch(name) or version < 1:
            raise InvalidInput(f"{cls.__name__}: an event is named like 'order.placed' with a version from 1, not {name!r}")
        cls.event_name, cls.schema_version = name, version


class Command(BaseModel):
    """A wish, in the imperative. ``id_field`` names the field that holds the id of the aggregate it goes to."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    command_name: ClassVar[str]
    id_field: ClassVar[str]

    def __init_subclass__(cls, **_class_arguments: Any) -> None:
        """Leave the class arguments to `__pydantic_init_subclass__`, which runs once the fields are known."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str, id_field: str, **kwargs: Any) -> None:  # type: ignore[override]
        """Take the stable name (``reserve_stock``); it is also the Temporal activity type."""
        super().__pydantic_init_subclass__(**kwargs)
        if not _COMMAND_NAME.fullmatch(name):
            raise InvalidInput(f"{cls.__name__}: a command is named like 'reserve_stock', not {name!r}")
        if id_field not in cls.model_fields:
            raise InvalidInput(f"{cls.__name__}: id_field={id_field!r} is not one of its fields")
        cls.command_name, cls.id_field = name, id_field

    @property
    def aggregate_id(self) -> str:
        """The id of the aggregate this command goes to."""
        return str(getattr(self, self.id_field))


_TRACEPARENT = re.compile(r'"traceparent":\s*"([^"]*)"')


class Metadata(BaseModel):
    """Where an event comes from: enough to rebuild a whole conversation from stored events alone.

    ``correlation_id`` is the same for one business conversation; ``causation_id`` is the id of the message that
    directly caused this one (an event's id or a command's key); ``traceparent`` is W3C trace context as at append. ``hops``
    counts the reactions and sagas between the conversation's first command and this event; 0 is not written.
    """

    model_config = ConfigDict(frozen=True)
    correlation_id: str
    causation_id: str | None = None
    command: str | None = None
    command_key: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    hops: int = Field(0, ge=0, exclude_if=operator.not_)


# Not pydantic, and not frozen, like the one below: each command makes one per event.
@dataclass(slots=True)
class NewEvent:
    """An event on its way into the log: named and serialised, with no version or position yet."""

    id: UUID
    type: str
    schema_version: int
    data: str
    metadata: Metadata


# Reading a log makes one per event, and this costs a fifth of a frozen pydantic model.
@dataclass(slots=True)
class RecordedEvent:
    """An event as the log holds it.

    ``version`` is its place in its stream, from 1; ``position`` its place in the log of its service, growing, with
    holes; ``data`` is JSON text as it was written, decoded by `Registry.decode_all`; so is ``metadata_text``, which is read
    when `metadata` is first asked for.
    """

    service: str
    position: int
    stream: str
    version: int
    id: UUID
    type: str
    schema_version: int
    data: str
    metadata_text: str
    recorded_at: datetime
    _metadata: Metadata | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def metadata(self) -> Metadata:
        """Where the event comes from."""
        if self._metadata is None:
            self._metadata = Metadata.model_validate_json(self.metadata_text)
        return self._metadata

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context as stored at append, without reading the rest of the metadata."""
        found = _TRACEPARENT.search(self.metadata_text)
        return found[1] if found else None

    @property
    def aggregate_id(self) -> str:
        """The part of the stream name after the category."""
        return self.stream.partition("-")[2]

    @classmethod
    def of(
        cls, event: NewEvent, *, service: str, stream: str, version: int, position: int, recorded_at: datetime
    ) -> RecordedEvent:
        """Say where and when a new event was recorded."""
        return cls(
            service=service,
            position=position,
            stream=stream,
            version=version,
            id=event.id,
            type=event.type,
            schema_version=event.schema_version,
            data=event.data,
            metadata_text=event.metadata.model_dump_json(),
            recorded_at=recorded_at,
        )

    def fields(self) -> dict[str, Any]:
        """Return everything but ``data``, the metadata as plain values."""
        names = ("service", "stream", "version", "position", "id", "type", "schema_version", "recorded_at")
        return {name: getattr(self, name) for name in names} | {"metadata": self.metadata.model_dump()}

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; ``data`` stays the text that was written."""
        texts = {"id": str(self.id), "recorded_at": self.recorded_at.isoformat(), "data": self.data}
        return self.fields() | texts


def new_event(event: Event, metadata: Metadata) -> NewEvent:
    """Wrap an event for the log; its id is a uuid7, so ids sort roughly by time."""
    return NewEvent(
        id=uuid7(),
        type=event.event_name,
        schema_version=event.schema_version,
        data=event.model_dump_json(),
        metadata=metadata,
    )


class Registry:
    """The only way from a stored name to a class: an explicit list, made from the services."""

    def __init__(
        self,
        events: Iterable[type[Event]] = (),
        commands: Iterable[type[Command]] = (),
        upcasters: Iterable[Upcaster] = (),
    ) -> None:
        """Refuse two classes under one name, and upcasters that lead nowhere."""
        self._events: dict[tuple[str, int], type[Event]] = {}
        self._commands: dict[str, type[Command]] = {}
        for event in events:
            other_event = self._events.setdefault((event.event_name, event.schema_version), event)
            if other_event is not event:
                raise InvalidInput(f"{event.__name__} and {other_event.__name__} share the event name {event.event_name!r}")
        for command in commands:
            other_command = self._commands.setdefault(command.command_name, command)
            if other_command is not command:
                raise InvalidInput(
                    f"{command.__name__} and {other_command.__name__} share the command name {command.command_name!r}"
                )
        self.upcasting = Upcasting(upcasters, self._events)
        self._read_as_stored = {key: event for key, event in self._events.items() if key not in self.upcasting.steps}
        # What `model_validate_json` would look up at each call.
        self._decoders: dict[tuple[str, int], Callable[[str | bytes], Event]] = {
            key: event.__pydantic_validator__.validate_json for key, event in self._read_as_stored.items()
        }

    @property
    def events(self) -> Mapping[tuple[str, int], type[Event]]:
        """Every event class, by stored name and schema version."""
        return self._events

    @property
    def commands(self) -> Mapping[str, type[Command]]:
        """Every command class by its name."""
        return self._commands

    def is_read_as_stored(self, event: type[Event]) -> bool:
        """Tell whether stored events of this class come out as it: no upcaster takes them further."""
        return self._read_as_stored.get((event.event_name, event.schema_version)) is event

    def can_read(self, recorded: NewEvent | RecordedEvent) -> bool:
        """Tell whether the stored type and version are known, by a class or an upcaster."""
        key = (recorded.type, recorded.schema_version)
        return key in self._read_as_stored or key in self.upcasting.steps

    def stored_names(self, events: Iterable[type[Event]]) -> frozenset[str]:
        """List the names under which these events may be stored: their own, and those that are upcast into them."""
        wanted = {(event.event_name, event.schema_version) for event in events}
        older = {name for name, version in self.upcasting.steps if wanted & self.upcasting.ends((name, version))}
        return frozenset({name for name, _ in wanted} | older)

    def event_type(self, name: str, schema_version: int) -> type[Event]:
        """Find the class of an event. Raises `UnknownMessage`."""
        try:
            return self._events[name, schema_version]
        except KeyError:
            known = [f"{known_name} {version}" for known_name, version in (*self._events, *self.upcasting.steps)]
            raise UnknownMessage("event", f"{name} {schema_version}", known) from None

    def command_type(self, name: str) -> type[Command]:
        """Find the class of a command. Raises `UnknownMessage`."""
        try:
            return self._commands[name]
        except KeyError:
            raise UnknownMessage("command", name, list(self._commands)) from None

    def decode_all(self, recorded: NewEvent | RecordedEvent) -> tuple[Event, ...]:
        """Turn one stored event into what it means today: as a rule one event, several or none behind an upcaster.

        Raises `UnreadableEvent`, naming type, version and place; nothing is ever skipped.
        """
        decode = self._decoders.get((recorded.type, recorded.schema_version))
        try:
            if decode is not None:
                return (decode(recorded.data),)
            return self._upcast(recorded)
        except ValidationError as error:
            # Where and why, without the value: it may be personal, and this text is logged.
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
            raise UnreadableEvent(recorded.type, recorded.schema_version, _place(recorded), faults) from None
        except UnknownMessage as error:
            raise UnreadableEvent(recorded.type, recorded.schema_version, _place(recorded), str(error)) from None

    def _upcast(self, recorded: NewEvent | RecordedEvent) -> tuple[Event, ...]:
        key = (recorded.type, recorded.schema_version)
        if key not in self.upcasting.steps:
            self.event_type(*key)
        try:
            # Back to JSON at the end, so that a class reads upcast fields by the same rules as stored ones.
            ends = [((name, version), to_json(new)) for name, version, new in self.upcasting.run(key, from_json(recorded.data))]
        except Exception as error:
            why = f"its upcaster failed: {type(error).__name__}: {error}"
            raise UnreadableEvent(*key, _place(recorded), why) from error
        return tuple([self._decoders[end](data) for end, data in ends])


def _place(recorded: NewEvent | RecordedEvent) -> str:
    if not isinstance(recorded, RecordedEvent):
        return "an event without a place in a log"
    return f"{recorded.stream} version {recorded.version}, position {recorded.position} of service {recorded.service}"
