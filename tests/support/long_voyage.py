"""Sagas that go on in new runs of their workflow, after so few events that every test comes past several."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Saga, Service
    from tests.support.voyage import Book, CalledOff, Embarked, Permit, Refused, Told, Unbook, Voyage


@workflow.defn
class LongVoyage(
    Saga,
    starts_on=Embarked,
    key="voyage",
    expects={Told: "voyage"},
    cancels_on={CalledOff: "voyage"},
    deadline=timedelta(days=30),
    patience=timedelta(seconds=2),
    run_events=20,
):
    """Does what the plan says, word for word: ``leg:a``, ``side:b,c``, ``news``, ``ask``, ``rest``, ``pivot``, ``refused``."""

    @workflow.run
    async def run(self, embarked: Embarked) -> None:
        self._voyage = embarked.voyage
        began, drawn = self.now(), self.random.random()
        for word, _, names in (each.partition(":") for each in embarked.plan.split()):
            if word == "leg":
                await self._leg(names)
            elif word == "side":
                await self.together(*(self._both_ways(name) for name in names.split(",")))
            elif word == "news":
                told = await self.expect(Told, match=lambda told: told.news != "chatter", within=timedelta(days=14))
                await self._leg(told.news)
            elif word == "ask":
                answer = await self.ask_person("Sail at night?", ["sail", "stay"], within=timedelta(days=7))
                await self._leg(answer.choice)
            elif word == "rest":
                await self.sleep(timedelta(days=float(names)))
            elif word == "days":
                await self._leg(f"{(self.now() - began).days}-days")
            elif word == "patched":
                await self._leg(f"patched-{self.patched(names)}")
            elif word == "pivot":
                await self.step(Permit(leg=f"{self._voyage}-pivot"), pivot=True)
            elif word == "refused":
                await self.step(Book(leg=f"{self._voyage}-refused", is_refused=True))
        self.drawn = drawn

    async def _leg(self, name: str) -> None:
        full = f"{self._voyage}-{name}"
        if self.course.is_after_pivot:
            await self.step(Book(leg=full))
        else:
            await self.step(Book(leg=full), undo=Unbook(leg=full))

    async def _both_ways(self, name: str) -> None:
        await self._leg(f"{name}-there")
        await self._leg(f"{name}-back")

    async def compensated(self, reason: str) -> None:
        await self.conclude(Permit(leg=f"{self._voyage}-home"))


class Log(BaseModel):
    season: int = 1
    days: int = 0


@workflow.defn
class ManySeasons(Saga, starts_on=Embarked, key="voyage", cancels_on={CalledOff: "voyage"}, expects={Told: "voyage"}):
    """Lives for as many seasons as its plan says, each of a month."""

    @workflow.run
    async def run(self, embarked: Embarked, log: Log = Log()) -> None:
        began, leg = self.now(), f"{embarked.voyage}-{log.season}"
        await self.step(Book(leg=f"{leg}-open"), undo=Unbook(leg=f"{leg}-open"))
        await self.step(Permit(leg=leg), pivot=True)
        await self.sleep(timedelta(days=30))
        if log.season == int(embarked.plan):
            raise_refused = log.days > 365 * 100
            if raise_refused:
                raise Refused("too old")
            return
        await self.new_chapter(Log(season=log.season + 1, days=log.days + (self.now() - began).days))


LONG_VOYAGES = Service("voyages", aggregates=(Voyage,), sagas=(LongVoyage, ManySeasons))
