"""The rules of trips, flights, hotels and cars: what is held is held for a time, and nothing is promised twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st
from pydantic import ValidationError

from aggregates.car import (
    CancelCar,
    Car,
    CarCancelled,
    CarHeld,
    CarHired,
    CarHoldOver,
    CarKnown,
    CarNotFree,
    CarNotHeld,
    CarOffered,
    CarReleased,
    ConfirmCar,
    HoldCar,
    OfferCar,
    ReleaseCar,
)
from aggregates.flight import (
    ConfirmSeats,
    Flight,
    FlightFull,
    FlightKnown,
    FlightOffered,
    HoldSeats,
    OfferFlight,
    ReleaseSeats,
    SeatHoldExpired,
    SeatHoldOver,
    SeatsHeld,
    SeatsNotHeld,
    SeatsReleased,
    SeatsSold,
    SeatsTaken,
)
from aggregates.hotel import (
    CancelRoom,
    ConfirmRoom,
    HoldRoom,
    Hotel,
    HotelFull,
    HotelKnown,
    HotelOpened,
    OpenHotel,
    ReleaseRoom,
    RoomBooked,
    RoomCancelled,
    RoomHeld,
    RoomHoldExpired,
    RoomHoldOver,
    RoomNotHeld,
    RoomReleased,
    RoomTaken,
)
from aggregates.trip import (
    BookTrip,
    CallOffAsked,
    CallTripOff,
    RejectTrip,
    RequestTrip,
    Trip,
    TripBooked,
    TripKnown,
    TripNotOpen,
    TripRejected,
    TripRequested,
)
from sagakit.errors import DomainError
from sagakit.messages import Command
from sagakit.testing import given
from workflows.trip_booking import HELD_FOR, TO_ANSWER, TO_CONFIRM, TO_HOLD

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER, MUCH_LATER = NOW + timedelta(hours=1), NOW + timedelta(hours=2)

OFFERED = FlightOffered(flight="f", seats=3)
SEATS_HELD = SeatsHeld(flight="f", trip="t", seats=2, until=LATER)
SOLD = SeatsSold(flight="f", trip="t")


def _hold_seats(trip: str, seats: int, at: datetime, until: datetime = MUCH_LATER) -> HoldSeats:
    return HoldSeats(flight="f", trip=trip, seats=seats, at=at, until=until)


def test_a_flight_never_promises_more_seats_than_it_has() -> None:
    given(Flight).when(OfferFlight(flight="f", seats=3)).then(OFFERED)
    given(Flight, OFFERED).when(OfferFlight(flight="f", seats=3)).refused(FlightKnown)
    given(Flight).when(_hold_seats("t", 1, NOW)).refused(FlightFull)
    given(Flight, OFFERED).when(_hold_seats("t", 2, NOW, LATER)).then(SEATS_HELD)
    for past in ((OFFERED, SEATS_HELD), (OFFERED, SEATS_HELD, SOLD)):
        given(Flight, *past).when(_hold_seats("u", 2, NOW)).refused(FlightFull)
        given(Flight, *past).when(_hold_seats("t", 1, NOW)).refused(SeatsTaken)
        given(Flight, *past).when(_hold_seats("u", 1, NOW)).then(SeatsHeld(flight="f", trip="u", seats=1, until=MUCH_LATER))


def test_tickets_are_sold_once_and_only_in_the_time_of_their_hold() -> None:
    held = given(Flight, OFFERED, SEATS_HELD)
    flight = held.when(ConfirmSeats(flight="f", trip="t", at=LATER - timedelta(microseconds=1))).then(SOLD)
    assert (flight.sold, flight.holds) == ({"t": 2}, {})
    refusal = held.when(ConfirmSeats(flight="f", trip="t", at=LATER)).refused(SeatHoldOver)
    assert str(refusal) == "flight f held seats for trip t until 2026-01-01 13:00 UTC"
    given(Flight, OFFERED).when(ConfirmSeats(flight="f", trip="t", at=NOW)).refused(SeatsNotHeld)
    given(Flight, OFFERED, SEATS_HELD, SOLD).when(ConfirmSeats(flight="f", trip="t", at=MUCH_LATER)).then()
    given(Flight, OFFERED, SEATS_HELD, SOLD).when(ReleaseSeats(flight="f", trip="t")).then()


def test_a_hold_of_seats_whose_time_is_over_makes_room_and_a_late_confirmation_finds_nothing() -> None:
    expired = SeatHoldExpired(flight="f", trip="t")
    taken = SeatsHeld(flight="f", trip="u", seats=3, until=MUCH_LATER)
    given(Flight, OFFERED, SEATS_HELD).when(_hold_seats("u", 3, LATER)).then(expired, taken)
    gone = given(Flight, OFFERED, SEATS_HELD, expired, taken)
    gone.when(ConfirmSeats(flight="f", trip="t", at=NOW)).refused(SeatsNotHeld)
    gone.when(ReleaseSeats(flight="f", trip="t")).then()
    again = SeatsHeld(flight="f", trip="t", seats=2, until=MUCH_LATER)
    given(Flight, OFFERED, SEATS_HELD).when(_hold_seats("t", 2, LATER)).then(expired, again)
    released = SeatsReleased(flight="f", trip="t")
    given(Flight, OFFERED, SEATS_HELD).when(ReleaseSeats(flight="f", trip="t")).then(released)
    given(Flight, OFFERED, SEATS_HELD, released).when(_hold_seats("t", 2, NOW)).then(again)


@any_of(
    st.lists(
        st.tuples(st.sampled_from(["hold", "confirm", "release"]), st.sampled_from("abc"), st.integers(0, 4), st.integers(1, 3)),
        max_size=30,
    )
)
def test_whatever_is_asked_of_a_flight_in_whatever_order_no_seat_is_promised_twice(
    asked: list[tuple[str, str, int, int]],
) -> None:
    flight = Flight(id="f").evolve([OFFERED])
    sold: dict[str, int] = {}
    for what, trip, hours, seats in asked:
        at = NOW + timedelta(hours=hours)
        commands: dict[str, Command] = {
            "hold": _hold_seats(trip, seats, at, at + timedelta(hours=2)),
            "confirm": ConfirmSeats(flight="f", trip=trip, at=at),
            "release": ReleaseSeats(flight="f", trip=trip),
        }
        try:
            flight.evolve(flight.decide(commands[what]))
        except DomainError:
            continue
        assert sum(flight.sold.values()) + sum(hold.seats for hold in flight.holds.values()) <= flight.seats
        assert sold.items() <= flight.sold.items(), "a ticket that is sold is not taken back"
        sold = dict(flight.sold)


OPENED = HotelOpened(hotel="h", rooms=1)
ROOM_HELD = RoomHeld(hotel="h", trip="t", until=LATER)
BOOKED = RoomBooked(hotel="h", trip="t")


def _hold_room(trip: str, at: datetime, until: datetime = MUCH_LATER) -> HoldRoom:
    return HoldRoom(hotel="h", trip=trip, at=at, until=until)


def test_a_hotel_promises_each_room_once() -> None:
    given(Hotel).when(OpenHotel(hotel="h", rooms=1)).then(OPENED)
    given(Hotel, OPENED).when(OpenHotel(hotel="h", rooms=1)).refused(HotelKnown)
    given(Hotel).when(_hold_room("t", NOW)).refused(HotelFull)
    given(Hotel, OPENED).when(_hold_room("t", NOW, LATER)).then(ROOM_HELD)
    for past in ((OPENED, ROOM_HELD), (OPENED, ROOM_HELD, BOOKED)):
        given(Hotel, *past).when(_hold_room("u", NOW)).refused(HotelFull)
        given(Hotel, *past).when(_hold_room("t", NOW)).refused(RoomTaken)
    given(Hotel, OPENED, ROOM_HELD).when(_hold_room("u", LATER)).then(
        RoomHoldExpired(hotel="h", trip="t"), RoomHeld(hotel="h", trip="u", until=MUCH_LATER)
    )


def test_a_room_is_booked_in_the_time_of_its_hold_and_given_back_by_release_or_cancel() -> None:
    held, booked = given(Hotel, OPENED, ROOM_HELD), given(Hotel, OPENED, ROOM_HELD, BOOKED)
    assert held.when(ConfirmRoom(hotel="h", trip="t", at=NOW)).then(BOOKED).booked == {"t"}
    held.when(ConfirmRoom(hotel="h", trip="t", at=LATER)).refused(RoomHoldOver)
    given(Hotel, OPENED).when(ConfirmRoom(hotel="h", trip="t", at=NOW)).refused(RoomNotHeld)
    booked.when(ConfirmRoom(hotel="h", trip="t", at=MUCH_LATER)).then()
    held.when(CancelRoom(hotel="h", trip="t")).then()
    held.when(ReleaseRoom(hotel="h", trip="t")).then(RoomReleased(hotel="h", trip="t"))
    booked.when(ReleaseRoom(hotel="h", trip="t")).then()
    cancelled = RoomCancelled(hotel="h", trip="t")
    booked.when(CancelRoom(hotel="h", trip="t")).then(cancelled)
    free = given(Hotel, OPENED, ROOM_HELD, BOOKED, cancelled)
    free.when(ReleaseRoom(hotel="h", trip="t")).then()
    free.when(_hold_room("u", NOW)).then(RoomHeld(hotel="h", trip="u", until=MUCH_LATER))
    given(Hotel, OPENED, ROOM_HELD, RoomReleased(hotel="h", trip="t")).when(_hold_room("t", NOW, LATER)).then(ROOM_HELD)


CAR = CarOffered(car="c")
CAR_HELD = CarHeld(car="c", trip="t", until=LATER)
HIRED = CarHired(car="c", trip="t")


def _hold_car(trip: str, at: datetime, until: datetime = MUCH_LATER) -> HoldCar:
    return HoldCar(car="c", trip=trip, at=at, until=until)


def test_a_car_has_one_trip_at_a_time() -> None:
    given(Car).when(OfferCar(car="c")).then(CAR)
    given(Car, CAR).when(OfferCar(car="c")).refused(CarKnown)
    given(Car).when(_hold_car("t", NOW)).refused(CarNotFree)
    given(Car, CAR).when(_hold_car("t", NOW, LATER)).then(CAR_HELD)
    refusal = given(Car, CAR, CAR_HELD).when(_hold_car("u", NOW)).refused(CarNotFree)
    assert str(refusal) == "car c is held for trip t"
    given(Car, CAR, CAR_HELD, HIRED).when(_hold_car("u", MUCH_LATER)).refused(CarNotFree)
    taken = CarHeld(car="c", trip="u", until=MUCH_LATER)
    given(Car, CAR, CAR_HELD).when(_hold_car("u", LATER)).then(taken)
    gone = given(Car, CAR, CAR_HELD, taken)
    gone.when(ConfirmCar(car="c", trip="t", at=NOW)).refused(CarNotHeld)
    gone.when(ReleaseCar(car="c", trip="t")).then()


def test_a_car_is_hired_in_the_time_of_its_hold_and_given_back_by_release_or_cancel() -> None:
    held, hired = given(Car, CAR, CAR_HELD), given(Car, CAR, CAR_HELD, HIRED)
    held.when(ConfirmCar(car="c", trip="t", at=NOW)).then(HIRED)
    held.when(ConfirmCar(car="c", trip="t", at=LATER)).refused(CarHoldOver)
    hired.when(ConfirmCar(car="c", trip="t", at=MUCH_LATER)).then()
    hired.when(ConfirmCar(car="c", trip="u", at=NOW)).refused(CarNotHeld)
    held.when(CancelCar(car="c", trip="t")).then()
    hired.when(ReleaseCar(car="c", trip="t")).then()
    hired.when(CancelCar(car="c", trip="u")).then()
    released, cancelled = CarReleased(car="c", trip="t"), CarCancelled(car="c", trip="t")
    held.when(ReleaseCar(car="c", trip="t")).then(released)
    hired.when(CancelCar(car="c", trip="t")).then(cancelled)
    for past in ((CAR_HELD, released), (CAR_HELD, HIRED, cancelled)):
        given(Car, CAR, *past).when(_hold_car("t", NOW, LATER)).then(CAR_HELD)


def test_a_moment_without_its_time_zone_is_no_moment() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        ConfirmCar(car="c", trip="t", at=NOW.replace(tzinfo=None))


REQUEST = RequestTrip(trip="t", flight="f", seats=2, hotel="h", car="c")
REQUESTED = TripRequested(trip="t", flight="f", seats=2, hotel="h", car="c")


def test_a_trip_is_requested_once_and_decided_once() -> None:
    given(Trip).when(REQUEST).then(REQUESTED)
    given(Trip, REQUESTED).when(REQUEST).refused(TripKnown)
    booked, rejected = TripBooked(trip="t", with_car=False), TripRejected(trip="t", reason="full")
    for past in ((REQUESTED,), (REQUESTED, CallOffAsked(trip="t"))):
        given(Trip, *past).when(CallTripOff(trip="t")).then(CallOffAsked(trip="t"))
        given(Trip, *past).when(BookTrip(trip="t", with_car=False)).then(booked)
        given(Trip, *past).when(RejectTrip(trip="t", reason="full")).then(rejected)
    for trip in (given(Trip), given(Trip, REQUESTED, booked), given(Trip, REQUESTED, rejected)):
        for command in (CallTripOff(trip="t"), BookTrip(trip="t", with_car=True), RejectTrip(trip="t", reason="late")):
            trip.when(command).refused(TripNotOpen)


def test_the_times_of_the_saga_end_before_its_holds_do() -> None:
    assert TO_HOLD + TO_ANSWER + 2 * TO_CONFIRM < HELD_FOR
