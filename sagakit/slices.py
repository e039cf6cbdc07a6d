"""The format of a slice: JSON lines, first a header, then events in the order of time, then commands that failed.

Every touched stream begins at version 1, so that each aggregate can be folded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sagakit.errors import InvalidInput
from sagakit.messages import Metadata, RecordedEvent

FORMAT = 1


class Header(BaseModel):
    """What was asked for, and what there is; ``earlier`` events were not asked for, but their streams need them."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["slice"] = "slice"
    format: int = FORMAT
    made_by: str
    made_at: datetime
    asked: dict[str, str | int]
    masked: list[str]
    events: int = Field(ge=0)
    earlier: int = Field(ge=0)
    failed_commands: int = Field(ge=0)
    note: str = "every stream is whole from version 1, with the events marked earlier, so that its aggregate can be folded"


class SliceEvent(BaseModel):
    """One event, with everything the log holds of it; ``number`` is its place in the slice, from 1."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["event"] = "event"
    number: int
    earlier: bool
    service: str
    stream: str
    version: int = Field(ge=1)
    position: int
    id: UUID
    type: str
    schema_version: int = Field(ge=1)
    data: dict[str, Any]
    metadata: Metadata
    recorded_at: AwareDatetime

    def recorded(self) -> RecordedEvent:
        """Return it as a log holds it."""
        return RecordedEvent(
            service=self.service,
            position=self.position,
            stream=self.stream,
            version=self.version,
            id=self.id,
            type=self.type,
            schema_version=self.schema_version,
            data=json.dumps(self.data, ensure_ascii=False),
            metadata_text=self.metadata.model_dump_json(),
            recorded_at=self.recorded_at,
        )


class SliceFailure(BaseModel):
    """A command whose handler raised what nobody expected, and the version of its stream that it met."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["failed_command"] = "failed_command"
    service: str
    id: str
    command: str
    fields: dict[str, Any]
    stream: str
    version: int = Field(ge=0)
    exception: str
    text: str
    traceback: str
    correlation_id: str
    causation_id: str | None = None
    command_key: str | None = None
    actor: str | None = None
    recorded_at: AwareDatetime


@dataclass(frozen=True)
class Slice:
    """A part of production, to be replayed elsewhere."""

    header: Header
    events: tuple[SliceEvent, ...]
    failures: tuple[SliceFailure, ...]

    def lines(self) -> Iterator[str]:
        """Return it as text, a line each."""
        for part in (self.header, *self.events, *self.failures):
            yield json.dumps(part.model_dump(mode="json"))


def read_slice(path: Path) -> Slice:
    """Read a whole slice. Raises `InvalidInput`, naming the line, for one that is not whole or not a slice."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    if not lines:
        raise InvalidInput(f"{path} is empty: expected the lines that export writes")
    header = _part(path, 1, lines[0], {"slice": Header})
    if not isinstance(header, Header):  # the mapping allows nothing else
        raise InvalidInput(f"{path}, line 1 is no header of a slice")
    if header.format != FORMAT:
        raise InvalidInput(f"{path}, line 1: format {header.format} is not known; this release reads format {FORMAT}")
    events: list[SliceEvent] = []
    failures: list[SliceFailure] = []
    for number, line in enumerate(lines[1:], 2):
        part = _part(path, number, line, {"event": SliceEvent, "failed_command": SliceFailure})
        if isinstance(part, SliceFailure):
            failures.append(part)
        elif isinstance(part, SliceEvent):
            events.append(part)
            if part.number != len(events):
                raise InvalidInput(f"{path}, line {number}: event number {part.number} stands where {len(events)} should")
    _require_whole_streams(path, events)
    if (len(events), len(failures)) != (header.events, header.failed_commands):
        raise InvalidInput(
            f"{path} is not whole: line 1 announces {header.events} events and {header.failed_commands} failed commands, "
            f"and {len(events)} and {len(failures)} follow up to line {len(lines)}"
        )
    return Slice(header, tuple(events), tuple(failures))


def _require_whole_streams(path: Path, events: list[SliceEvent]) -> None:
    last: dict[str, int] = {}
    ids: set[UUID] = set()
    for number, event in enumerate(events, 2):
        expected = last.get(event.stream, 0) + 1
        if event.version != expected:
            raise InvalidInput(f"{path}, line {number}: {event.stream} goes on with version {event.version}, not {expected}")
        if event.id in ids:
            raise InvalidInput(f"{path}, line {number}: the event id {event.id} is there twice")
        last[event.stream] = event.version
        ids.add(event.id)


def _part(path: Path, number: int, line: bytes, kinds: dict[str, type[BaseModel]]) -> BaseModel:
    place = f"{path}, line {number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise InvalidInput(f"{place} is not JSON: {why}") from None
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidInput(f"{place}: expected a JSON object of the kind {' or '.join(kinds)}")
    try:
        return kinds[kind].model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise InvalidInput(f"{place}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
