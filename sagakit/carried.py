"""What a saga takes with it from one Temporal run into the next, so that no history grows without end."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.steps import Answer, Arrived, Recovery, Status
    from sagakit.told import Fact


class Entry(BaseModel):
    """What one of the author's calls came to, or how far it is. ``until`` ends a wait, ``number`` is a step's or a group's."""

    label: str
    number: int | None = None
    until: datetime | None = None
    since: str = ""
    attempts: int = 1
    is_open: bool = True
    is_cancelled: bool = False
    is_sent: bool = False
    outcome: str | None = None
    failure: tuple[str, tuple[Fact, ...]] | None = None


class Parked(BaseModel):
    """A step that waits for a person: why, and which attempt is the next."""

    why: str
    attempt: int
    attempts: int
    since: str


class Carried(BaseModel):
    """The whole of it. Travels as the only argument of the next run, as compressed JSON.

    ``event`` started the saga; ``state`` is what the author gave to a new chapter. ``began`` is what the deadline counts from.
    """

    model_config = ConfigDict(extra="forbid")
    event: str
    began: datetime
    at: datetime
    chapter: int = 1
    state: str | None = None
    entries: dict[str, Entry] = Field(default_factory=dict)
    steps: int = 0
    groups: int = 0
    decisions: int = 0
    letters: tuple[Arrived, ...] = ()
    seen: tuple[str, ...] = ()
    known_answers: tuple[Answer, ...] = ()
    status: Status = "running"
    status_before: Status = "running"
    parked: dict[int, Parked] = Field(default_factory=dict)
    cancelled_by: str | None = None
    is_stopped: bool = False
    recovery: Recovery | None = None
    only_known: bool = False
    ending: str | None = None
    undone: tuple[int, ...] = ()

    def packed(self) -> bytes:
        """Write it small."""
        return zlib.compress(self.model_dump_json(exclude_defaults=True).encode(), 6)

    @classmethod
    def unpacked(cls, data: bytes) -> Carried:
        """Read what `packed` wrote."""
        return cls.model_validate_json(zlib.decompress(data))

    def later(self, by: timedelta) -> Carried:
        """Move what is left of every wait: the time between a saga's end by mistake and its being begun anew does not count."""
        entries = {
            place: entry.model_copy(update={"until": entry.until + by}) if entry.until and entry.is_open else entry
            for place, entry in self.entries.items()
        }
        return self.model_copy(update={"entries": entries, "began": self.began + by})
