"""Book a flight, a hotel and a car together, or none of them; without the car, where a person says so."""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.car import CancelCar, ConfirmCar, HoldCar, ReleaseCar
    from aggregates.flight import ConfirmSeats, HoldSeats, ReleaseSeats
    from aggregates.hotel import CancelRoom, ConfirmRoom, HoldRoom, ReleaseRoom
    from aggregates.trip import BookTrip, CallOffAsked, RejectTrip, TripRequested
    from sagakit.errors import DomainError, StepRefused, StepTimedOut
    from sagakit.saga import Saga

HELD_FOR = timedelta(hours=24)
TO_HOLD = timedelta(minutes=10)
TO_ANSWER = timedelta(hours=22)
TO_CONFIRM = timedelta(minutes=30)
"""For the room, and again for the car. All these together are less than `HELD_FOR`, so that the tickets are asked for in time."""
QUESTION, GO, GIVE_UP = "There is no car. Go without?", "go without a car", "give up"


class GivenUp(DomainError):
    """The traveller wants no trip without a car."""


@workflow.defn
class TripBooking(Saga, starts_on=TripRequested, key="trip", cancels_on={CallOffAsked: "trip"}):
    """The tickets are the pivot: room and car can be cancelled, so they are confirmed before it, and given back if it fails."""

    @workflow.run
    async def run(self, trip: TripRequested) -> None:
        """Hold all three side by side, then confirm what can be taken back, then what cannot."""
        self._id = trip.trip
        is_car_held = await self._hold(trip, self.now())
        await self.step(
            ConfirmRoom(hotel=trip.hotel, trip=trip.trip, at=self.now()),
            undo=CancelRoom(hotel=trip.hotel, trip=trip.trip),
            within=TO_CONFIRM,
        )
        if is_car_held:
            await self.step(
                ConfirmCar(car=trip.car, trip=trip.trip, at=self.now()),
                undo=CancelCar(car=trip.car, trip=trip.trip),
                within=TO_CONFIRM,
            )
        await self.step(ConfirmSeats(flight=trip.flight, trip=trip.trip, at=self.now()), pivot=True)
        await self.step(BookTrip(trip=trip.trip, with_car=is_car_held))

    async def _hold(self, trip: TripRequested, at: datetime) -> bool:
        """Hold all three, or, where only the car could not be held and a person says so, the others; tell whether the car is."""
        until = at + HELD_FOR
        try:
            await self.together(
                self.step(
                    HoldSeats(flight=trip.flight, trip=trip.trip, seats=trip.seats, at=at, until=until),
                    undo=ReleaseSeats(flight=trip.flight, trip=trip.trip),
                    within=TO_HOLD,
                ),
                self.step(
                    HoldRoom(hotel=trip.hotel, trip=trip.trip, at=at, until=until),
                    undo=ReleaseRoom(hotel=trip.hotel, trip=trip.trip),
                    within=TO_HOLD,
                ),
                self.step(
                    HoldCar(car=trip.car, trip=trip.trip, at=at, until=until),
                    undo=ReleaseCar(car=trip.car, trip=trip.trip),
                    within=TO_HOLD,
                ),
            )
        except (StepRefused, StepTimedOut) as failure:
            # The first failure of a group is raised, in the order of its steps: it is the car's only where it is the only one.
            if failure.step != HoldCar.command_name:
                raise
            await self._ask()
            return False
        return True

    async def _ask(self) -> None:
        """Whoever does not answer in time gets no trip that they did not ask for."""
        answer = await self.ask_person(QUESTION, [GO, GIVE_UP], within=TO_ANSWER)
        if answer.choice == GIVE_UP:
            raise GivenUp(f"{answer.actor} gave up: {answer.reason}")

    async def compensated(self, reason: str) -> None:
        """Once nothing is held or confirmed any more, say so in the trip."""
        await self.conclude(RejectTrip(trip=self._id, reason=reason))
