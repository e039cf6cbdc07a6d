"""A small domain of the tests' own: a counter that may not go over its limit."""

from __future__ import annotations

from pydantic import Field

from sagakit import Aggregate, Command, DomainError, Event, Service, applies, handles
from sagakit.messages import Metadata, NewEvent, new_event
from sagakit.service import ServiceMap


class Add(Command, name="add", id_field="counter"):
    counter: str
    amount: int


class Added(Event, name="counter.added", version=1):
    amount: int


class Note(Command, name="note", id_field="counter"):
    counter: str
    text: str


class Noted(Event, name="counter.noted", version=1):
    text: str


class OverLimit(DomainError):
    pass


class Counter(Aggregate, category="counter"):
    total: int = 0

    @handles(Add)
    def add(self, command: Add) -> Event | None:
        if self.total + command.amount > 100:
            raise OverLimit(f"{self.total} + {command.amount} is over 100")
        return Added(amount=command.amount) if command.amount else None

    @handles(Note)
    def note(self, command: Note) -> Event:
        return Noted(text=command.text)

    @applies(Noted)
    def _noted(self, event: Noted) -> None:
        pass

    @applies(Added)
    def _added(self, event: Added) -> None:
        self.total += event.amount


class Gain(Command, name="gain", id_field="hoard"):
    hoard: str
    item: str


class Gained(Event, name="hoard.gained", version=1):
    item: str


class Hoard(Aggregate, category="hoard", snapshot_every=10):
    """Has snapshots, and a state that grows."""

    items: dict[str, int] = Field(default_factory=dict)

    @handles(Gain)
    def gain(self, command: Gain) -> Event:
        return Gained(item=command.item)

    @applies(Gained)
    def _gained(self, event: Gained) -> None:
        self.items[event.item] = self.items.get(event.item, 0) + 1


COUNTING = Service("counting", aggregates=(Counter, Hoard))
SERVICES = ServiceMap([COUNTING])


def added(amount: int = 1, correlation_id: str = "c") -> NewEvent:
    return new_event(Added(amount=amount), Metadata(correlation_id=correlation_id))
