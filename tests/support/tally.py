"""A hot aggregate of the chaos tests: each event tells the total that its writer believed in."""

from __future__ import annotations

from sagakit import Aggregate, Command, DomainError, Event, Service, applies, handles
from sagakit.service import ServiceMap


class Count(Command, name="count", id_field="tally"):
    tally: str
    amount: int


class Counted(Event, name="tally.counted", version=1):
    amount: int
    total: int


class UnluckyTotal(DomainError):
    pass


class Tally(Aggregate, category="tally"):
    total: int = 0

    @handles(Count)
    def count(self, command: Count) -> Event:
        total = self.total + command.amount
        if total % 7 == 0:
            raise UnluckyTotal(f"{total} is a multiple of 7")
        return Counted(amount=command.amount, total=total)

    @applies(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.amount


SERVICES = ServiceMap([Service("tallies", aggregates=(Tally,))])
