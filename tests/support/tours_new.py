"""The same saga as build 2 knows it: it sleeps first and takes other steps, so no open tour of build 1 could go on here."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Event, Saga, Service, applies, handles
    from sagakit.service import ServiceMap
    from tests.support.tours import DetourBegun, Tour, TourBegun, Visit, Visited


class Place(Aggregate, category="place"):
    @handles(Visit)
    def visit(self, command: Visit) -> Event:
        return Visited(place=self.id, build="2")

    @applies(Visited)
    def _visited(self, event: Visited) -> None: ...


@workflow.defn(name="LeadDetour")
class LeadDetour(Saga, starts_on=DetourBegun, key="tour"):
    @workflow.run
    async def run(self, begun: DetourBegun) -> None:
        await self.step(Visit(place=f"{begun.tour}-new.detour"))


@workflow.defn(name="LeadTour")
class LeadTour(Saga, starts_on=TourBegun, key="tour", run_events=30):
    @workflow.run
    async def run(self, begun: TourBegun, season: int = 1) -> None:
        await self.sleep(timedelta(milliseconds=1))
        await self.step(Visit(place=f"{begun.tour}-new.a{season}"))
        await self.step(Visit(place=f"{begun.tour}-new.b{season}"))
        await self.ask_person("On?", ["on", "off"])
        await self.step(Visit(place=f"{begun.tour}-new.end"), pivot=True)


NEW = ServiceMap(
    [Service("tours", aggregates=(Tour,), sagas=(LeadTour,)), Service("places", aggregates=(Place,), sagas=(LeadDetour,))]
)
