"""What a saga is rehearsed with: how it begins, what it is told and answered, and what may go wrong."""

from __future__ import annotations

from dataclasses import dataclass

from sagakit.messages import Command, Event
from sagakit.saga import Saga
from sagakit.temporal.faults import Fault
from sagakit.temporal.telling import Later


@dataclass(frozen=True)
class Rehearsal:
    """What a saga is rehearsed with: through each fault wherever it can happen, or ``only`` one at the step of a number, from 1.

    ``told`` are the events that it is told of, ``answers`` those that it gets. ``given`` are commands that real services would
    have to have handled before, ``told_by`` those by which they record what is told, in the same order, and ``apart`` the
    fields of the first event, beside its key, whose aggregates no two sagas can share there: played services need none of it.
    ``way`` tells rehearsals apart that are drawn each by itself.
    """

    saga: type[Saga]
    event: Event
    told: tuple[Event | Later, ...] = ()
    answers: tuple[str, ...] = ()
    given: tuple[Command, ...] = ()
    told_by: tuple[Command, ...] = ()
    apart: tuple[str, ...] = ()
    only: tuple[int, Fault] | None = None
    way: str = ""

    @property
    def title(self) -> str:
        """Name it: ``<saga>`` or ``<saga>, <way>``."""
        return f"{self.saga.saga_name}, {self.way}" if self.way else self.saga.saga_name
