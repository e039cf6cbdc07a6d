"""Trips through real services and a real Temporal server: one without its car, one whose seats are gone, one called off (G4)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from aggregates.car import Car, HoldCar, OfferCar
from aggregates.flight import Flight, HoldSeats, OfferFlight
from aggregates.hotel import Hotel, OpenHotel
from aggregates.trip import CallTripOff, RequestTrip, Trip
from sagakit.errors import InvalidInput
from sagakit.messages import Command
from sagakit.repository import Context
from sagakit.steps import Answer, SagaResult
from sagakit.system import System
from sagakit.temporal.executions import Executions
from tests.support.running import running
from tests.support.waiting import until
from worker.services import TRIPS
from workflows.trip_booking import GO, HELD_FOR


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running(TRIPS, tmp_path, client=client) as system:
        yield system


async def _send(system: System, *commands: Command) -> None:
    for command in commands:
        assert (await system.send(command, Context())).status == "done"


async def _stands(system: System, trip: str) -> dict[str, Any]:
    """How all that a trip is about stands, by the services' own logs."""

    async def loaded(service: str, aggregate: Any, of: str) -> Any:
        return await (await system.open(service)).repository.load(aggregate, of)

    plane, hotel = await loaded("flights", Flight, f"f-{trip}"), await loaded("hotels", Hotel, f"h-{trip}")
    return {
        "trip": (await loaded("trips", Trip, trip)).status,
        "seats": "sold" if trip in plane.sold else "held" if trip in plane.holds else "",
        "room": "booked" if trip in hotel.booked else "held" if trip in hotel.held_until else "",
        "car": (await loaded("cars", Car, f"c-{trip}")).trip == trip,
    }


async def test_trips_end_booked_or_leave_nothing_in_any_service_g4(system: System, client: Client) -> None:
    run, now, executions = uuid.uuid4().hex[:8], datetime.now(UTC), Executions(client)
    trips = [f"{name}{run}" for name in ("whole", "carless", "late", "off")]
    whole, carless, late, off = trips
    for trip in trips:
        await _send(
            system, OfferFlight(flight=f"f-{trip}", seats=2), OpenHotel(hotel=f"h-{trip}", rooms=1), OfferCar(car=f"c-{trip}")
        )
        if trip != whole:
            await _send(system, HoldCar(car=f"c-{trip}", trip="another", at=now, until=now + timedelta(days=3)))
        await _send(system, RequestTrip(trip=trip, flight=f"f-{trip}", seats=2, hotel=f"h-{trip}", car=f"c-{trip}"))

    async def is_asking(trip: str) -> bool:
        try:
            return (await executions.look(f"trip-booking/{trip}")).status == "asking"
        except InvalidInput:
            return False  # it has not begun

    for trip in (carless, late, off):
        await until(lambda trip=trip: is_asking(trip), f"trip {trip} to ask")
        held = {"trip": "requested", "seats": "held", "room": "held", "car": False}
        assert await _stands(system, trip) == held
    # Somebody else takes the seats of one as soon as its hold is over, while its traveller is still thinking.
    too_late = now + HELD_FOR + timedelta(hours=1)
    await _send(system, HoldSeats(flight=f"f-{late}", trip="quicker", seats=2, at=too_late, until=too_late + HELD_FOR))
    for trip in (carless, late):
        await executions.answer(f"trip-booking/{trip}", Answer(choice=GO, actor="kim", reason="there is a bus"))
    await _send(system, CallTripOff(trip=off))

    results = await asyncio.wait_for(asyncio.gather(*(_result(client, trip) for trip in trips)), 30)
    stands = {trip: await _stands(system, trip) for trip in trips}
    nothing = {"trip": "rejected", "seats": "", "room": "", "car": False}
    assert [result.status for result in results] == ["completed", "completed", "compensated", "compensated"]
    assert stands[whole] == {"trip": "booked", "seats": "sold", "room": "booked", "car": True}
    assert stands[carless] == stands[whole] | {"car": False}
    assert stands[late] == stands[off] == nothing
    assert results[2].reason == f"flight f-{late} holds nothing for trip {late}, or not any more"
    assert results[3].reason == "cancelled by trip.call_off_asked"
    hotel = [event.type for event in await (await system.open("hotels")).store.load(f"hotel-h-{late}")]
    assert hotel == ["hotel.opened", "hotel.room_held", "hotel.room_booked", "hotel.room_cancelled"]


async def _result(client: Client, trip: str) -> SagaResult:
    return await client.get_workflow_handle(f"trip-booking/{trip}", result_type=SagaResult).result()
