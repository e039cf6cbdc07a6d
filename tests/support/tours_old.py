"""The saga that leads a tour, as build 1 knows it. The places say by their names which build led to them."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Event, Saga, Service, applies, handles
    from sagakit.service import ServiceMap
    from tests.support.tours import DetourBegun, Tour, TourBegun, Visit, Visited


class Place(Aggregate, category="place"):
    @handles(Visit)
    def visit(self, command: Visit) -> Event:
        return Visited(place=self.id, build="1")

    @applies(Visited)
    def _visited(self, event: Visited) -> None: ...


@workflow.defn(name="LeadDetour")
class LeadDetour(Saga, starts_on=DetourBegun, key="tour"):
    @workflow.run
    async def run(self, begun: DetourBegun) -> None:
        await self.step(Visit(place=f"{begun.tour}-old.detour"))


@workflow.defn(name="LeadTour")
class LeadTour(Saga, starts_on=TourBegun, key="tour", run_events=30):
    @workflow.run
    async def run(self, begun: TourBegun, season: int = 1) -> None:
        tour, plan = begun.tour, begun.plan.split()
        await self.step(Visit(place=f"{tour}-old.a{season}"))
        await self.ask_person("On?", ["on", "off"])
        if "long" in plan:
            for number in range(4):
                await self.step(Visit(place=f"{tour}-old.long{number}"))
            await self.ask_person("Still on?", ["on", "off"])
        if "detour" in plan:
            await self.child(LeadDetour, DetourBegun(tour=f"{tour}-detour"))
        if "seasons" in plan and season == 1:
            await self.new_chapter(2)
        await self.step(Visit(place=f"{tour}-old.end"), pivot=True)


OLD = ServiceMap(
    [Service("tours", aggregates=(Tour,), sagas=(LeadTour,)), Service("places", aggregates=(Place,), sagas=(LeadDetour,))]
)
