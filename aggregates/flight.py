"""A flight: its seats are held for a time, then sold or free again. A ticket that is sold is not taken back."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class OfferFlight(Command, name="offer_flight", id_field="flight"):
    """Offer its seats."""

    flight: Identifier
    seats: int = Field(ge=1)


class HoldSeats(Command, name="hold_seats", id_field="flight"):
    """Hold seats for a trip; ``at`` is now for whoever asks, and the hold is over ``until`` then."""

    flight: Identifier
    trip: Identifier
    seats: int = Field(ge=1)
    at: AwareDatetime
    until: AwareDatetime


class ConfirmSeats(Command, name="confirm_seats", id_field="flight"):
    """Buy what is held; ``at`` is now for whoever asks."""

    flight: Identifier
    trip: Identifier
    at: AwareDatetime


class ReleaseSeats(Command, name="release_seats", id_field="flight"):
    """Hold nothing any more for a trip."""

    flight: Identifier
    trip: Identifier


class FlightOffered(Event, name="flight.offered", version=1):
    """Its seats can be held."""

    flight: str
    seats: int


class SeatsHeld(Event, name="flight.seats_held", version=1):
    """They are nobody else's until then."""

    flight: str
    trip: str
    seats: int
    until: AwareDatetime


class SeatHoldExpired(Event, name="flight.hold_expired", version=1):
    """The time of a hold was over when somebody else asked for seats."""

    flight: str
    trip: str


class SeatsReleased(Event, name="flight.seats_released", version=1):
    """They are free again."""

    flight: str
    trip: str


class SeatsSold(Event, name="flight.seats_sold", version=1):
    """The tickets are bought."""

    flight: str
    trip: str


class FlightKnown(DomainError):
    """A flight is offered once."""


class FlightFull(DomainError):
    """No seat is promised to two trips."""


class SeatsTaken(DomainError):
    """A trip holds or buys its seats of a flight once."""


class SeatsNotHeld(DomainError):
    """Only what is held is sold."""


class SeatHoldOver(DomainError):
    """What is held is sold only in its time."""


class SeatHold(BaseModel):
    """How many seats are held, and until when."""

    model_config = ConfigDict(frozen=True)
    seats: int
    until: AwareDatetime


class Flight(Aggregate, category="flight"):
    """Never more seats promised than there are; a hold whose time is over stands in nobody's way."""

    seats: int = 0
    holds: dict[str, SeatHold] = Field(default_factory=dict)
    sold: dict[str, int] = Field(default_factory=dict)

    @handles(OfferFlight)
    def offer(self, command: OfferFlight) -> Event:
        if self.exists:
            raise FlightKnown(f"flight {self.id} is offered already")
        return FlightOffered(flight=self.id, seats=command.seats)

    @handles(HoldSeats)
    def hold(self, command: HoldSeats) -> list[Event]:
        valid = {trip: hold for trip, hold in self.holds.items() if command.at < hold.until}
        if command.trip in valid or command.trip in self.sold:
            raise SeatsTaken(f"trip {command.trip} has its seats of flight {self.id} already")
        free = self.seats - sum(self.sold.values()) - sum(hold.seats for hold in valid.values())
        if command.seats > free:
            raise FlightFull(f"flight {self.id} has {free} of {self.seats} seats left, {command.seats} wanted")
        expired = [SeatHoldExpired(flight=self.id, trip=trip) for trip in self.holds if trip not in valid]
        return [*expired, SeatsHeld(flight=self.id, trip=command.trip, seats=command.seats, until=command.until)]

    @handles(ConfirmSeats)
    def confirm(self, command: ConfirmSeats) -> Event | None:
        if command.trip in self.sold:
            return None
        hold = self.holds.get(command.trip)
        if hold is None:
            raise SeatsNotHeld(f"flight {self.id} holds nothing for trip {command.trip}, or not any more")
        if command.at >= hold.until:
            raise SeatHoldOver(f"flight {self.id} held seats for trip {command.trip} until {hold.until:%Y-%m-%d %H:%M %Z}")
        return SeatsSold(flight=self.id, trip=command.trip)

    @handles(ReleaseSeats)
    def release(self, command: ReleaseSeats) -> Event | None:
        return SeatsReleased(flight=self.id, trip=command.trip) if command.trip in self.holds else None

    @applies(FlightOffered)
    def _offered(self, event: FlightOffered) -> None:
        self.seats = event.seats

    @applies(SeatsHeld)
    def _held(self, event: SeatsHeld) -> None:
        self.holds[event.trip] = SeatHold(seats=event.seats, until=event.until)

    @applies(SeatHoldExpired)
    def _expired(self, event: SeatHoldExpired) -> None:
        del self.holds[event.trip]

    @applies(SeatsReleased)
    def _released(self, event: SeatsReleased) -> None:
        del self.holds[event.trip]

    @applies(SeatsSold)
    def _sold(self, event: SeatsSold) -> None:
        self.sold[event.trip] = self.holds.pop(event.trip).seats
