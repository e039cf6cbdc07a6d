"""A trip is booked whole, or without its car where a person says so, or leaves nothing held or confirmed (G4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from aggregates.car import Car, CarOffered
from aggregates.flight import Flight, FlightOffered
from aggregates.hotel import Hotel, HotelOpened
from aggregates.trip import CallOffAsked, Trip
from sagakit import Event
from sagakit.service import ServiceMap
from sagakit.temporal.diagram import diagram_of
from sagakit.testing import Fault, Played, Scenario, Stage, in_document, rehearsing
from worker.rehearsals import TRIP
from worker.rehearsals import TRIPS as REHEARSALS
from worker.services import TRIPS
from workflows.trip_booking import GIVE_UP, GO, HELD_FOR, TO_ANSWER, TripBooking

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/trip-booking.md"
COMMANDS = ServiceMap(TRIPS).registry.commands
HOLDS = ["hold_seats", "hold_room", "hold_car"]
RELEASES = {"release_seats", "release_room"}
OF_CAR = {"hold_car", "confirm_car"}


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(TRIPS, temporal_binary) as stage:
        yield stage


def _done(played: Played) -> list[str]:
    return [call.command for call in played.calls if call.effect == "done"]


def _undone(played: Played) -> list[str]:
    return [call.command for call in played.calls if call.effect == "undone"]


def _require_whole(played: Played) -> None:
    """Let the real aggregates do what the played ones did, in that order: none refuses it, and nothing is left half."""
    offered: dict[type, Event] = {
        Flight: FlightOffered(flight="f", seats=TRIP.seats),
        Hotel: HotelOpened(hotel="h", rooms=1),
        Car: CarOffered(car="c"),
        Trip: TRIP,
    }
    flight, hotel, car, trip = Flight(id="f"), Hotel(id="h"), Car(id="c"), Trip(id="t")
    for each in (flight, hotel, car, trip):
        each.evolve([offered[type(each)]])
    for call in played.calls:
        if call.effect in ("done", "undone"):
            command = COMMANDS[call.command].model_validate(call.fields)
            (its,) = [each for each in (flight, hotel, car, trip) if type(command) in each.command_handlers]
            its.evolve(its.decide(command))
    assert (flight.holds, hotel.held_until, car.status == "held") == ({}, {}, False), "nothing stays held"
    if played.status == "completed":
        assert (set(flight.sold), hotel.booked, trip.status) == ({"t"}, {"t"}, "booked")
        (booking,) = [call for call in played.calls if (call.command, call.effect) == ("book_trip", "done")]
        assert (car.status == "hired") == booking.fields["with_car"]
    else:
        assert (flight.sold, hotel.booked, car.status, trip.status) == ({}, set(), "free", "rejected")


async def _took(stage: Stage, played: Played) -> timedelta:
    found = await stage.client.get_workflow_handle(played.workflow_id).describe()
    assert found.close_time is not None
    return found.close_time - found.start_time


async def test_all_three_are_held_for_a_day_then_confirmed_the_tickets_last_g4(stage: Stage) -> None:
    played = await stage.play(TripBooking, TRIP)
    assert (played.status, played.waited) == ("completed", ())
    assert sorted(_done(played)[:3]) == sorted(HOLDS)
    assert _done(played)[3:] == ["confirm_room", "confirm_car", "confirm_seats", "book_trip"]
    for call in played.calls[:3]:
        assert datetime.fromisoformat(call.fields["until"]) - datetime.fromisoformat(call.fields["at"]) == HELD_FOR
    assert [step["kind"] for step in played.steps] == ["compensable"] * 5 + ["pivot", "retriable"]
    _require_whole(played)


@pytest.mark.parametrize("faults", [{1: "refused"}, {2: "refused"}, {1: "refused", 3: "refused"}, {2: "silent", 3: "refused"}])
async def test_without_flight_or_hotel_everything_is_released_and_nobody_is_asked_g4(
    stage: Stage, faults: dict[int, Fault]
) -> None:
    played = await stage.play(TripBooking, TRIP, faults=faults, answers=[GO])
    assert (played.status, played.waited) == ("compensated", ())
    assert _done(played)[-1] == "reject_trip"
    _require_whole(played)


async def test_without_a_car_a_person_decides_and_silence_gives_up_before_the_holds_are_over_g4(stage: Stage) -> None:
    without = {3: "refused"}
    gone = await stage.play(TripBooking, TRIP, faults=without, answers=[GO])  # type: ignore[arg-type]
    assert gone.status == "completed"
    assert OF_CAR.isdisjoint(_done(gone))
    given_up = await stage.play(TripBooking, TRIP, faults=without, answers=[GIVE_UP])  # type: ignore[arg-type]
    assert (given_up.status, given_up.reason) == ("compensated", "rehearsal gave up: rehearsed")
    silent = await stage.play(TripBooking, TRIP, faults=without)  # type: ignore[arg-type]
    assert (silent.status, silent.reason) == ("compensated", "There is no car. Go without? did not come within 22:00:00")
    assert TO_ANSWER <= await _took(stage, silent) < HELD_FOR
    for played in (gone, given_up, silent):
        assert len(played.waited) == 1
        _require_whole(played)
    assert set(_undone(given_up)) == set(_undone(silent)) == RELEASES


@pytest.mark.parametrize(("fault", "effect"), [("silent", "undone"), ("late success", "nothing")])
async def test_a_car_of_which_nobody_knows_whether_it_is_held_is_given_up_once_the_trip_is_booked_g4(
    stage: Stage, fault: Fault, effect: str
) -> None:
    """Held it is released; and a hold that comes even later finds a fence."""
    played = await stage.play(TripBooking, TRIP, faults={3: fault}, answers=[GO])
    assert (played.status, played.was_parked) == ("completed", False)
    calls = [(call.command, call.effect) for call in played.calls]
    assert calls[calls.index(("book_trip", "done")) + 1] == ("release_car", effect)
    assert calls[-1] == (("hold_car", "fenced") if fault == "late success" else ("release_car", "undone"))
    assert [step["state"] for step in played.steps if step["name"] == "hold_car"] == ["undone"]
    _require_whole(played)


@pytest.mark.parametrize("step", [4, 5, 6])
async def test_a_hold_that_is_over_before_it_is_confirmed_takes_back_what_was_confirmed_g4(stage: Stage, step: int) -> None:
    played = await stage.play(TripBooking, TRIP, faults={step: "refused"})
    assert played.status == "compensated"
    confirmed = ["cancel_car", "cancel_room"][6 - step :]
    assert _undone(played)[: len(confirmed)] == confirmed
    assert set(_undone(played)[len(confirmed) :]) == {*RELEASES, "release_car"}
    _require_whole(played)


async def test_a_trip_that_is_called_off_leaves_nothing_g4(stage: Stage) -> None:
    at_once = await stage.play(TripBooking, TRIP, told=[CallOffAsked(trip="t")])
    assert (at_once.status, at_once.reason) == ("compensated", "cancelled by trip.call_off_asked")
    beside = await stage.play(TripBooking, TRIP, faults={1: "cancelled", 3: "refused"}, answers=[GO])
    assert (beside.status, beside.reason, beside.waited) == ("compensated", "cancelled", ()), "nobody is asked any more"
    for played in (at_once, beside):
        _require_whole(played)


def _ends(scenarios: Sequence[Scenario], fault: Fault) -> dict[str, str]:
    return {s.command: s.played.status for s in scenarios if s.fault == fault}


async def test_every_failure_ends_right_and_is_drawn_as_it_is_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(TripBooking, TRIP, answers=[GO])
    steps = [*HOLDS, "confirm_room", "confirm_car", "confirm_seats", "book_trip"]
    for fault in ("crash", "late"):
        assert _ends(scenarios, fault) == dict.fromkeys(steps, "completed")
    assert _ends(scenarios, "cancelled") == dict.fromkeys(steps[:5], "compensated") | dict.fromkeys(steps[5:], "completed")
    assert _ends(scenarios, "undo refused") == dict.fromkeys(steps[:5], "compensated")
    goes_on = ("hold_car", "book_trip")
    assert _ends(scenarios, "refused") == {step: "completed" if step in goes_on else "compensated" for step in steps}
    goes_on = ("hold_car", "confirm_seats", "book_trip")
    assert _ends(scenarios, "silent") == {step: "completed" if step in goes_on else "compensated" for step in steps}
    for scenario in scenarios:
        _require_whole(scenario.played)
    further = [scenario for rehearsal in REHEARSALS[1:] for scenario in await stage.rehearse(rehearsal)]
    drawing = diagram_of("trip.requested", await stage.play(TripBooking, TRIP), [*scenarios, *further])
    text = DOCUMENT.read_text()
    assert in_document(text, "trip-booking", drawing) == text
