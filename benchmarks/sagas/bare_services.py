"""The services of the other side: activities that note a booking in memory, so that a retry is no second one."""

from __future__ import annotations

from pydantic import BaseModel
from temporalio import activity


class Booking(BaseModel):
    """What is asked for."""

    trip: str
    traveller: str


class Booked(BaseModel):
    """Where it is noted."""

    reference: str


class BookingServices:
    """Three services in one."""

    def __init__(self) -> None:
        """Begin with nothing booked."""
        self.booked: dict[str, Booking] = {}

    @activity.defn
    async def book_car(self, trip: Booking) -> Booked:
        """Book the car."""
        return self._book("car", trip)

    @activity.defn
    async def cancel_car(self, trip: Booking) -> Booked:
        """Give it back."""
        return self._cancel("car", trip)

    @activity.defn
    async def book_hotel(self, trip: Booking) -> Booked:
        """Book the hotel."""
        return self._book("hotel", trip)

    @activity.defn
    async def cancel_hotel(self, trip: Booking) -> Booked:
        """Give it back."""
        return self._cancel("hotel", trip)

    @activity.defn
    async def book_flight(self, trip: Booking) -> Booked:
        """Book the flight."""
        return self._book("flight", trip)

    def _book(self, what: str, trip: Booking) -> Booked:
        self.booked[f"{what}/{trip.trip}"] = trip
        return Booked(reference=f"{what}/{trip.trip}")

    def _cancel(self, what: str, trip: Booking) -> Booked:
        self.booked.pop(f"{what}/{trip.trip}", None)
        return Booked(reference=f"{what}/{trip.trip}")
