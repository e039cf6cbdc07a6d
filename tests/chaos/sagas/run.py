"""One saga that is to be harmed at one point, and how it is told of its events meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sagakit.messages import Command, Event
from sagakit.testing import Rehearsal
from tests.support.harm import Planned

KILL = "worker kill -9"
HARMS = ("business refusal", KILL, "time-out", "late success", "cancel", "double event")
EITHER = frozenset({"completed", "compensated"})


@dataclass
class Run:
    """A saga of its own. ``key`` is what its first event is about, of one length for all, so that no key begins another.

    ``harm`` is one of `HARMS`, at the steps that ``plans`` name or, with ``wait``, at the wait of that number. ``ends`` are the
    outcomes that are right, ``undoable`` the steps that have an undo, by key and command; ``may_be_given_up`` is the one that the
    saga may complete without, since its time is over: then it is undone, or fenced.
    """

    rehearsal: Rehearsal
    key: str
    point: str
    harm: str
    plans: tuple[Planned, ...] = ()
    wait: int | None = None
    ends: frozenset[str] = EITHER
    undoable: frozenset[tuple[str, str | None]] = frozenset()
    may_be_given_up: frozenset[tuple[str, str | None]] = frozenset()
    status: str = "running"
    was_parked: bool = False
    was_harmed: bool = False
    waits_seen: int = 0
    steps_at_wait: int = 0
    is_ready_to_kill: bool = False
    pending: list[Event] = field(default_factory=list)
    withheld: list[Event] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pending = [self.named(event) for event in self.rehearsal.told]
        self.answers = list(self.rehearsal.answers)

    @property
    def saga_name(self) -> str:
        return self.rehearsal.saga.saga_name

    @property
    def event(self) -> Event:
        return self.named(self.rehearsal.event)

    @property
    def workflow_id(self) -> str:
        return self.rehearsal.saga.workflow_id(self.event)

    @property
    def has_ended(self) -> bool:
        return self.status in EITHER

    def named(self, event: Event) -> Event:
        """The event as one of this run's saga."""
        saga = self.rehearsal.saga
        if type(event) is not saga.starts_on:
            return event.model_copy(update={saga.expects[type(event)]: self.key})
        return event.model_copy(update=dict.fromkeys((saga.key_field, *self.rehearsal.apart), self.key))

    def told_by(self, event: Event) -> Command | None:
        """The command by which a real service records what this saga is told of."""
        told = [type(each) for each in self.rehearsal.told]
        if not self.rehearsal.told_by:
            return None
        command = self.rehearsal.told_by[told.index(type(event))]
        return command.model_copy(update={command.id_field: self.key})

    @property
    def needed(self) -> list[Planned]:
        """What has to be come to: a refusal that only makes it compensate need not be, where it does so before."""
        return [plan for plan in self.plans if plan.harm != "business refusal" or self.harm == "business refusal"]

    @property
    def given(self) -> list[Command]:
        """What its services have to have handled before, for aggregates of its own where it shares none."""
        apart = {getattr(self.rehearsal.event, name) for name in self.rehearsal.apart}
        return [
            command.model_copy(update={command.id_field: self.key}) if command.aggregate_id in apart else command
            for command in self.rehearsal.given
        ]

    def is_to_be_watched(self) -> bool:
        """True when somebody has to tell it something, or harm it where it waits."""
        return bool(self.pending or self.answers or self.withheld or self.wait is not None)
