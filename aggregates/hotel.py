"""A hotel: a room is held for a time, then booked or free again. A booking can be cancelled."""

from pydantic import AwareDatetime, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class OpenHotel(Command, name="open_hotel", id_field="hotel"):
    """Offer its rooms."""

    hotel: Identifier
    rooms: int = Field(ge=1)


class HoldRoom(Command, name="hold_room", id_field="hotel"):
    """Hold a room for a trip; ``at`` is now for whoever asks, and the hold is over ``until`` then."""

    hotel: Identifier
    trip: Identifier
    at: AwareDatetime
    until: AwareDatetime


class ConfirmRoom(Command, name="confirm_room", id_field="hotel"):
    """Book what is held; ``at`` is now for whoever asks."""

    hotel: Identifier
    trip: Identifier
    at: AwareDatetime


class CancelRoom(Command, name="cancel_room", id_field="hotel"):
    """Give a booked room back."""

    hotel: Identifier
    trip: Identifier


class ReleaseRoom(Command, name="release_room", id_field="hotel"):
    """Hold nothing any more for a trip."""

    hotel: Identifier
    trip: Identifier


class HotelOpened(Event, name="hotel.opened", version=1):
    """Its rooms can be held."""

    hotel: str
    rooms: int


class RoomHeld(Event, name="hotel.room_held", version=1):
    """It is nobody else's until then."""

    hotel: str
    trip: str
    until: AwareDatetime


class RoomHoldExpired(Event, name="hotel.hold_expired", version=1):
    """The time of a hold was over when somebody else asked for a room."""

    hotel: str
    trip: str


class RoomReleased(Event, name="hotel.room_released", version=1):
    """A room that was held is free again."""

    hotel: str
    trip: str


class RoomBooked(Event, name="hotel.room_booked", version=1):
    """It is the traveller's."""

    hotel: str
    trip: str


class RoomCancelled(Event, name="hotel.room_cancelled", version=1):
    """A room that was booked is free again."""

    hotel: str
    trip: str


class HotelKnown(DomainError):
    """A hotel is opened once."""


class HotelFull(DomainError):
    """No room is promised to two trips."""


class RoomTaken(DomainError):
    """A trip holds or books its room once."""


class RoomNotHeld(DomainError):
    """Only what is held is booked."""


class RoomHoldOver(DomainError):
    """What is held is booked only in its time."""


class Hotel(Aggregate, category="hotel"):
    """Never more rooms promised than there are; a hold whose time is over stands in nobody's way."""

    rooms: int = 0
    held_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    booked: set[str] = Field(default_factory=set)

    @handles(OpenHotel)
    def open(self, command: OpenHotel) -> Event:
        if self.exists:
            raise HotelKnown(f"hotel {self.id} is open already")
        return HotelOpened(hotel=self.id, rooms=command.rooms)

    @handles(HoldRoom)
    def hold(self, command: HoldRoom) -> list[Event]:
        valid = {trip for trip, until in self.held_until.items() if command.at < until}
        if command.trip in valid | self.booked:
            raise RoomTaken(f"trip {command.trip} has its room of hotel {self.id} already")
        if len(valid) + len(self.booked) >= self.rooms:
            raise HotelFull(f"hotel {self.id} has none of {self.rooms} rooms left")
        expired = [RoomHoldExpired(hotel=self.id, trip=trip) for trip in self.held_until if trip not in valid]
        return [*expired, RoomHeld(hotel=self.id, trip=command.trip, until=command.until)]

    @handles(ConfirmRoom)
    def confirm(self, command: ConfirmRoom) -> Event | None:
        if command.trip in self.booked:
            return None
        until = self.held_until.get(command.trip)
        if until is None:
            raise RoomNotHeld(f"hotel {self.id} holds nothing for trip {command.trip}, or not any more")
        if command.at >= until:
            raise RoomHoldOver(f"hotel {self.id} held a room for trip {command.trip} until {until:%Y-%m-%d %H:%M %Z}")
        return RoomBooked(hotel=self.id, trip=command.trip)

    @handles(CancelRoom)
    def cancel(self, command: CancelRoom) -> Event | None:
        return RoomCancelled(hotel=self.id, trip=command.trip) if command.trip in self.booked else None

    @handles(ReleaseRoom)
    def release(self, command: ReleaseRoom) -> Event | None:
        return RoomReleased(hotel=self.id, trip=command.trip) if command.trip in self.held_until else None

    @applies(HotelOpened)
    def _opened(self, event: HotelOpened) -> None:
        self.rooms = event.rooms

    @applies(RoomHeld)
    def _held(self, event: RoomHeld) -> None:
        self.held_until[event.trip] = event.until

    @applies(RoomHoldExpired)
    def _expired(self, event: RoomHoldExpired) -> None:
        del self.held_until[event.trip]

    @applies(RoomReleased)
    def _released(self, event: RoomReleased) -> None:
        del self.held_until[event.trip]

    @applies(RoomBooked)
    def _booked(self, event: RoomBooked) -> None:
        del self.held_until[event.trip]
        self.booked.add(event.trip)

    @applies(RoomCancelled)
    def _cancelled(self, event: RoomCancelled) -> None:
        self.booked.remove(event.trip)
