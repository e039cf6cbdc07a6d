"""A trip of three bookings, as small as services can be: each records one event, and can take it back."""

from __future__ import annotations

from sagakit import Aggregate, Command, Event, applies, handles


class RequestTrip(Command, name="request_trip", id_field="trip"):
    """Ask for a trip."""

    trip: str
    traveller: str = "Ada"


class TripRequested(Event, name="trip.requested", version=1):
    """A trip is asked for."""

    trip: str
    traveller: str


class Trip(Aggregate, category="trip"):
    """What the saga begins with."""

    @handles(RequestTrip)
    def request(self, command: RequestTrip) -> Event:
        """Ask for it."""
        return TripRequested(trip=self.id, traveller=command.traveller)

    @applies(TripRequested)
    def _requested(self, event: TripRequested) -> None: ...


class BookCar(Command, name="book_car", id_field="trip"):
    """Book the car."""

    trip: str
    traveller: str


class CancelCar(Command, name="cancel_car", id_field="trip"):
    """Take that back."""

    trip: str


class BookHotel(Command, name="book_hotel", id_field="trip"):
    """Book the hotel."""

    trip: str
    traveller: str


class CancelHotel(Command, name="cancel_hotel", id_field="trip"):
    """Take that back."""

    trip: str


class BookFlight(Command, name="book_flight", id_field="trip"):
    """Book the flight, which is not taken back."""

    trip: str
    traveller: str


class CarBooked(Event, name="car.booked", version=1):
    """There is a car."""

    traveller: str


class CarCancelled(Event, name="car.cancelled", version=1):
    """There is none any more."""


class HotelBooked(Event, name="hotel.booked", version=1):
    """There is a room."""

    traveller: str


class HotelCancelled(Event, name="hotel.cancelled", version=1):
    """There is none any more."""


class FlightBooked(Event, name="flight.booked", version=1):
    """There is a seat."""

    traveller: str


class Car(Aggregate, category="car"):
    """A car for a trip."""

    is_booked: bool = False

    @handles(BookCar)
    def book(self, command: BookCar) -> Event:
        """Book it."""
        return CarBooked(traveller=command.traveller)

    @handles(CancelCar)
    def cancel(self, _: CancelCar) -> Event:
        """Take it back."""
        return CarCancelled()

    @applies(CarBooked)
    def _booked(self, _: CarBooked) -> None:
        self.is_booked = True

    @applies(CarCancelled)
    def _cancelled(self, _: CarCancelled) -> None:
        self.is_booked = False


class Hotel(Aggregate, category="hotel"):
    """A room for a trip."""

    is_booked: bool = False

    @handles(BookHotel)
    def book(self, command: BookHotel) -> Event:
        """Book it."""
        return HotelBooked(traveller=command.traveller)

    @handles(CancelHotel)
    def cancel(self, _: CancelHotel) -> Event:
        """Take it back."""
        return HotelCancelled()

    @applies(HotelBooked)
    def _booked(self, _: HotelBooked) -> None:
        self.is_booked = True

    @applies(HotelCancelled)
    def _cancelled(self, _: HotelCancelled) -> None:
        self.is_booked = False


class Flight(Aggregate, category="flight"):
    """A seat for a trip."""

    is_booked: bool = False

    @handles(BookFlight)
    def book(self, command: BookFlight) -> Event:
        """Book it."""
        return FlightBooked(traveller=command.traveller)

    @applies(FlightBooked)
    def _booked(self, _: FlightBooked) -> None:
        self.is_booked = True
