"""A car: held for a time by one trip, then hired or free again. A hire can be cancelled."""

from typing import Literal

from pydantic import AwareDatetime

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class OfferCar(Command, name="offer_car", id_field="car"):
    """Let it be hired."""

    car: Identifier


class HoldCar(Command, name="hold_car", id_field="car"):
    """Hold it for a trip; ``at`` is now for whoever asks, and the hold is over ``until`` then."""

    car: Identifier
    trip: Identifier
    at: AwareDatetime
    until: AwareDatetime


class ConfirmCar(Command, name="confirm_car", id_field="car"):
    """Hire it while it is held; ``at`` is now for whoever asks."""

    car: Identifier
    trip: Identifier
    at: AwareDatetime


class CancelCar(Command, name="cancel_car", id_field="car"):
    """Give a hired car back."""

    car: Identifier
    trip: Identifier


class ReleaseCar(Command, name="release_car", id_field="car"):
    """Hold it for this trip no more."""

    car: Identifier
    trip: Identifier


class CarOffered(Event, name="car.offered", version=1):
    """It can be hired."""

    car: str


class CarHeld(Event, name="car.held", version=1):
    """It is nobody else's until then, and who had it before has it no more."""

    car: str
    trip: str
    until: AwareDatetime


class CarReleased(Event, name="car.released", version=1):
    """It is free again."""

    car: str
    trip: str


class CarHired(Event, name="car.hired", version=1):
    """It is the traveller's."""

    car: str
    trip: str


class CarCancelled(Event, name="car.cancelled", version=1):
    """It was hired, and is free again."""

    car: str
    trip: str


class CarKnown(DomainError):
    """A car is offered once."""


class CarNotFree(DomainError):
    """No car is promised to two trips, or before it is offered."""


class CarNotHeld(DomainError):
    """Only what is held is hired."""


class CarHoldOver(DomainError):
    """What is held is hired only in its time."""


class Car(Aggregate, category="car"):
    """It has one trip at a time; a hold whose time is over stands in nobody's way."""

    status: Literal["new", "free", "held", "hired"] = "new"
    trip: str = ""
    held_until: AwareDatetime | None = None

    @handles(OfferCar)
    def offer(self, _command: OfferCar) -> Event:
        if self.exists:
            raise CarKnown(f"car {self.id} is {self.status} already")
        return CarOffered(car=self.id)

    @handles(HoldCar)
    def hold(self, command: HoldCar) -> Event:
        is_over = self.status == "held" and self.held_until is not None and command.at >= self.held_until
        if self.status != "free" and not is_over:
            raise CarNotFree(f"car {self.id} is {self.status}{f' for trip {self.trip}' if self.trip else ''}")
        return CarHeld(car=self.id, trip=command.trip, until=command.until)

    @handles(ConfirmCar)
    def confirm(self, command: ConfirmCar) -> Event | None:
        if self.status == "hired" and self.trip == command.trip:
            return None
        if not self._is_held_by(command.trip) or self.held_until is None:
            raise CarNotHeld(f"car {self.id} is not held for trip {command.trip}, or not any more")
        if command.at >= self.held_until:
            raise CarHoldOver(f"car {self.id} was held for trip {command.trip} until {self.held_until:%Y-%m-%d %H:%M %Z}")
        return CarHired(car=self.id, trip=command.trip)

    @handles(CancelCar)
    def cancel(self, command: CancelCar) -> Event | None:
        is_theirs = self.status == "hired" and self.trip == command.trip
        return CarCancelled(car=self.id, trip=command.trip) if is_theirs else None

    @handles(ReleaseCar)
    def release(self, command: ReleaseCar) -> Event | None:
        return CarReleased(car=self.id, trip=command.trip) if self._is_held_by(command.trip) else None

    def _is_held_by(self, trip: str) -> bool:
        return self.status == "held" and self.trip == trip

    @applies(CarOffered)
    def _offered(self, _event: CarOffered) -> None:
        self.status = "free"

    @applies(CarHeld)
    def _held(self, event: CarHeld) -> None:
        self.status, self.trip, self.held_until = "held", event.trip, event.until

    @applies(CarReleased)
    def _released(self, _event: CarReleased) -> None:
        self.status, self.trip, self.held_until = "free", "", None

    @applies(CarHired)
    def _hired(self, _event: CarHired) -> None:
        self.status, self.held_until = "hired", None

    @applies(CarCancelled)
    def _cancelled(self, _event: CarCancelled) -> None:
        self.status, self.trip = "free", ""
