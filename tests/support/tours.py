"""Tours: what they and the places that they visit are, beside two versions of the saga that leads them."""

from __future__ import annotations

from sagakit import Aggregate, Command, Event, applies, handles
from sagakit.messages import Identifier


class BeginTour(Command, name="begin_tour", id_field="tour"):
    tour: Identifier
    plan: str = ""


class TourBegun(Event, name="tour.begun", version=1):
    tour: str
    plan: str


class DetourBegun(Event, name="tour.detour_begun", version=1):
    tour: str


class Tour(Aggregate, category="tour"):
    @handles(BeginTour)
    def begin(self, command: BeginTour) -> Event:
        return TourBegun(tour=self.id, plan=command.plan)

    @applies(TourBegun)
    def _begun(self, event: TourBegun) -> None: ...

    @applies(DetourBegun)
    def _detour(self, event: DetourBegun) -> None: ...


class Visit(Command, name="visit", id_field="place"):
    place: Identifier


class Visited(Event, name="place.visited", version=1):
    place: str
    build: str
