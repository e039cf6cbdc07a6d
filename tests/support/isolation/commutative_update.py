"""Commutative update: credits and debits are added up, so the order in which they come does not matter."""

from __future__ import annotations

from pydantic import Field

from sagakit import Aggregate, Command, Event, applies, handles
from sagakit.messages import Identifier


class BookPoints(Command, name="book_points", id_field="card"):
    """Credit points, or debit them with a minus; ``booking`` names it, so that a repetition is known."""

    card: Identifier
    booking: str
    points: int


class PointsBooked(Event, name="card.points_booked", version=1):
    card: str
    booking: str
    points: int


class Card(Aggregate, category="card"):
    """A debit may come before its credit: the card is overdrawn until then, and never refuses either."""

    bookings: dict[str, int] = Field(default_factory=dict)

    @property
    def points(self) -> int:
        return sum(self.bookings.values())

    @property
    def is_overdrawn(self) -> bool:
        return self.points < 0

    @handles(BookPoints)
    def book(self, command: BookPoints) -> Event | None:
        if command.booking in self.bookings:
            return None
        return PointsBooked(card=self.id, booking=command.booking, points=command.points)

    @applies(PointsBooked)
    def _booked(self, event: PointsBooked) -> None:
        self.bookings[event.booking] = event.points
