"""What a rehearsed saga is told of: as it begins, when it waits, or so long after it began, by its own clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sagakit.messages import Event
from sagakit.steps import Arrived


@dataclass(frozen=True)
class Later:
    """An event that a saga is told of so long after it began, by its own clock, of which what is between is skipped."""

    after: timedelta
    event: Event


def arrived(event: Event, number: int, how: str) -> Arrived:
    """Make what a rehearsed saga is told of, known by its number among what it is told so."""
    return Arrived(
        id=f"{how}-{number}",
        type=event.event_name,
        schema_version=event.schema_version,
        stream=how,
        version=number + 1,
        data=event.model_dump_json(),
    )
