"""A trip: asked for, then booked, with a car or without, or rejected."""

from typing import Literal

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class RequestTrip(Command, name="request_trip", id_field="trip"):
    """Ask for seats on a flight, a room in a hotel, and a car."""

    trip: Identifier
    flight: Identifier
    seats: int = Field(ge=1)
    hotel: Identifier
    car: Identifier


class CallTripOff(Command, name="call_trip_off", id_field="trip"):
    """The traveller does not want it any more."""

    trip: Identifier


class BookTrip(Command, name="book_trip", id_field="trip"):
    """Say that all of it is confirmed, or all but the car."""

    trip: Identifier
    with_car: bool


class RejectTrip(Command, name="reject_trip", id_field="trip"):
    """Say that nothing of it is held any more, with the reason."""

    trip: Identifier
    reason: str


class TripRequested(Event, name="trip.requested", version=1):
    """A traveller asks for it."""

    trip: str
    flight: str
    seats: int
    hotel: str
    car: str


class CallOffAsked(Event, name="trip.call_off_asked", version=1):
    """The traveller does not want it any more."""

    trip: str


class TripBooked(Event, name="trip.booked", version=1):
    """It takes place."""

    trip: str
    with_car: bool


class TripRejected(Event, name="trip.rejected", version=1):
    """It does not take place."""

    trip: str
    reason: str


class TripKnown(DomainError):
    """A trip's id is used once."""


class TripNotOpen(DomainError):
    """Only what is asked for, and not yet decided, can be booked, rejected or called off."""


class Trip(Aggregate, category="trip"):
    """It is decided once. That it was called off is a wish: a ticket that was bought before goes before it."""

    status: Literal["new", "requested", "booked", "rejected"] = "new"

    @handles(RequestTrip)
    def request(self, command: RequestTrip) -> Event:
        if self.exists:
            raise TripKnown(f"trip {self.id} is {self.status} already")
        return TripRequested(**command.model_dump())

    @handles(CallTripOff)
    def call_off(self, _command: CallTripOff) -> Event:
        self._must_be_open()
        return CallOffAsked(trip=self.id)

    @handles(BookTrip)
    def book(self, command: BookTrip) -> Event:
        self._must_be_open()
        return TripBooked(trip=self.id, with_car=command.with_car)

    @handles(RejectTrip)
    def reject(self, command: RejectTrip) -> Event:
        self._must_be_open()
        return TripRejected(trip=self.id, reason=command.reason)

    def _must_be_open(self) -> None:
        if self.status != "requested":
            raise TripNotOpen(f"trip {self.id} is {self.status}")

    @applies(TripRequested)
    def _requested(self, _event: TripRequested) -> None:
        self.status = "requested"

    @applies(CallOffAsked)
    def _asked(self, _event: CallOffAsked) -> None: ...

    @applies(TripBooked)
    def _booked(self, _event: TripBooked) -> None:
        self.status = "booked"

    @applies(TripRejected)
    def _rejected(self, _event: TripRejected) -> None:
        self.status = "rejected"
