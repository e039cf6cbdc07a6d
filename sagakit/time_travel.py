"""What an aggregate was at a version or at a time, what happened to it and why, and what changed between two versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from sagakit.aggregate import Aggregate
from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.repository import Repository

_MISSING = object()


@dataclass(frozen=True)
class Moment:
    """An aggregate's state, and the events that led to it."""

    state: Aggregate
    events: list[RecordedEvent]


@dataclass(frozen=True)
class Change:
    """One field that differs: where it stands, like ``lines[0].quantity``, and its two values."""

    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        values = {"path": self.path, "kind": self.kind, "before": self.before, "after": self.after}
        return {name: to_jsonable_python(value) for name, value in values.items()}


async def history(repository: Repository, aggregate_type: type[Aggregate], aggregate_id: str) -> list[RecordedEvent]:
    """Return the events of an aggregate. Raises `InvalidInput` when there is none."""
    recorded = await repository.store.load(aggregate_type.stream_of(aggregate_id))
    if not recorded:
        raise InvalidInput(f"there is no {aggregate_type.category} {aggregate_id!r}")
    return recorded


async def state_at(
    repository: Repository,
    aggregate_type: type[Aggregate],
    aggregate_id: str,
    *,
    version: int | None = None,
    at: datetime | None = None,
) -> Moment:
    """Fold an aggregate up to a version, or up to the last event recorded by a time; with neither, up to now.

    Always from the events, never from a snapshot. Raises `InvalidInput` when it has no such version, or was not there yet.
    """
    recorded = await history(repository, aggregate_type, aggregate_id)
    name = f"{aggregate_type.category} {aggregate_id!r}"
    last = recorded[-1].version
    if version is not None:
        if not 1 <= version <= last:
            raise InvalidInput(f"{name} has versions 1 to {last}, and no version {version}")
        last = version
    elif at is not None:
        last = max((event.version for event in recorded if event.recorded_at <= at), default=0)
        if last == 0:
            raise InvalidInput(f"{name} was not there yet at {at.isoformat()}: its first event is of {recorded[0].recorded_at}")
    events = [event for event in recorded if event.version <= last]
    return Moment(repository.fold(aggregate_type, aggregate_id, events), events)


async def diff(
    repository: Repository, aggregate_type: type[Aggregate], aggregate_id: str, before: int, after: int
) -> list[Change]:
    """List what differs between two versions; 0 is before the first event. Raises `InvalidInput` for one out of range."""
    recorded = await history(repository, aggregate_type, aggregate_id)
    for version in (before, after):
        if not 0 <= version <= recorded[-1].version:
            name = f"{aggregate_type.category} {aggregate_id!r}"
            raise InvalidInput(f"{name} has versions 0 (nothing yet) to {recorded[-1].version}, and no version {version}")
    states = [repository.fold(aggregate_type, aggregate_id, recorded[:version]) for version in (before, after)]
    return changes(*states)


def changes(before: BaseModel, after: BaseModel) -> list[Change]:
    """Compare two states field by field, down into nested models, mappings and sequences; a set is one value."""
    return list(_changes("", before.model_dump(), after.model_dump()))


def _changes(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before is _MISSING or after is _MISSING:
        kind: Literal["added", "removed"] = "added" if before is _MISSING else "removed"
        yield Change(path, kind, None if before is _MISSING else before, None if after is _MISSING else after)
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            place = f"{path}.{key}" if path else str(key)
            yield from _changes(place, before.get(key, _MISSING), after.get(key, _MISSING))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        for index in range(max(len(before), len(after))):
            pair = [side[index] if index < len(side) else _MISSING for side in (before, after)]
            yield from _changes(f"{path}[{index}]", *pair)
    elif type(before) is not type(after) or before != after:
        yield Change(path, "changed", before, after)
