"""A saga that asks a service that is not sagakit code, and steps of its own around the question."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, Event, ForeignService, Saga, Service, applies, handles
    from sagakit.messages import Identifier


class Begin(Command, name="begin_errand", id_field="errand"):
    errand: Identifier
    seconds: float


class Note(Command, name="note_place", id_field="errand"):
    errand: Identifier
    place: str


class Begun(Event, name="errand.begun", version=1):
    errand: str
    seconds: float


class Noted(Event, name="errand.noted", version=1):
    place: str


class Errand(Aggregate, category="errand"):
    @handles(Begin)
    def begin(self, command: Begin) -> Event:
        return Begun(errand=self.id, seconds=command.seconds)

    @handles(Note)
    def note(self, command: Note) -> Event:
        return Noted(place=command.place)

    @applies(Begun)
    def _begun(self, event: Begun) -> None: ...

    @applies(Noted)
    def _noted(self, event: Noted) -> None: ...


class PickWanted(Event, name="pick.wanted", version=1):
    errand: str


class PickNoLongerWanted(Event, name="pick.no_longer_wanted", version=1):
    errand: str


class PickDone(Event, name="pick.done", version=1):
    errand: str
    place: str


@workflow.defn
class ErrandSaga(Saga, starts_on=Begun, key="errand", asks=(PickWanted, PickNoLongerWanted), expects={PickDone: "errand"}):
    @workflow.run
    async def run(self, begun: Begun) -> None:
        done = await self.ask_service(
            PickWanted(errand=begun.errand),
            reply=PickDone,
            within=timedelta(seconds=begun.seconds),
            undo=PickNoLongerWanted(errand=begun.errand),
        )
        await self.step(Note(errand=begun.errand, place=done.place), pivot=True)


ERRANDS = Service("errands", aggregates=(Errand,), sagas=(ErrandSaga,))
PICKERS = ForeignService("pickers", events=(PickDone,))
