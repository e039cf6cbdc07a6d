"""Sagas that go on in new runs of their workflow, after so few events that every test comes past several."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Saga, Service
    from sagakit.errors import StepRefused
    from sagakit.steps import StepReply
    from tests.support.voyage import Book, CalledOff, Embark, Embarked, Permit, Told, Unbook, Voyage


class _Sailing(Saga, starts_on=Embarked, key="voyage"):
    """Does what the plan says, word for word."""

    async def sail(self, embarked: Embarked) -> None:
        self._voyage, self._began = embarked.voyage, self.now()
        self._drawn = self.random.randrange(1000)
        for word, _, of in (each.partition(":") for each in embarked.plan.split()):
            await getattr(self, f"_{word}")(of)

    async def _leg(self, name: str) -> StepReply:
        full = f"{self._voyage}-{name}"
        if self.course.is_after_pivot:
            return await self.step(Book(leg=full))
        return await self.step(Book(leg=full), undo=Unbook(leg=full))

    async def _legs(self, count: str) -> None:
        for number in range(int(count)):
            await self._leg(str(number))

    async def _pivot(self, _: str) -> None:
        await self.step(Permit(leg=f"{self._voyage}-pivot"), pivot=True)

    async def _refused(self, _: str) -> None:
        """A step that the test's fault refuses."""
        await self.step(Book(leg=f"{self._voyage}-refused"))

    async def _spare(self, names: str) -> None:
        """Side by side, or one alone; and something else instead, where one is refused."""
        legs = [self._leg(name) for name in names.split(",")]
        try:
            await (self.together(*legs) if len(legs) > 1 else legs[0])
        except StepRefused:
            await self._leg("instead")

    async def _side(self, names: str) -> None:
        """Side by side, each there and back."""
        await self.together(*(self._both_ways(name) for name in names.split(",")))

    async def _both_ways(self, name: str) -> StepReply:
        await self._leg(f"{name}-there")
        return await self._leg(f"{name}-back")

    async def _news(self, _: str) -> StepReply:
        told = await self.expect(Told, match=lambda told: told.news != "chatter", within=timedelta(days=14))
        return await self._leg(told.news)

    async def _ask(self, _: str) -> None:
        answer = await self.ask_person("Sail at night?", ["sail", "stay"])
        await self._leg(answer.choice)

    async def _days(self, of: str) -> StepReply:
        """Something each day; ``days:10,4`` is ten times something every fourth day."""
        count, _, days = of.partition(",")
        for day in range(int(count)):
            await self.sleep(timedelta(days=int(days or 1)))
            await self._leg(f"day-{day}")
        return StepReply(done=0)

    async def _watch(self, days: str) -> None:
        """Wait for news, and do something each day meanwhile."""
        await self.together(self._news(""), self._days(days))

    async def _child(self, of: str) -> StepReply:
        """``child:b=leg:x+leg:y``: a saga of its own, with its plan; ``*`` stands for ``+`` in the plan of its child."""
        name, _, plan = of.partition("=")
        event = Embarked(voyage=f"{self._voyage}.{name}", plan=plan.replace("+", " ").replace("*", "+"))
        await self.child(PatientVoyage, event)
        return StepReply(done=1)

    async def _children(self, of: str) -> None:
        await self.together(*(self._child(each) for each in of.split("&")))

    async def _pivotchild(self, of: str) -> None:
        name, _, plan = of.partition("=")
        event = Embarked(voyage=f"{self._voyage}.{name}", plan=plan.replace("+", " "))
        await self.child(PatientVoyage, event, pivot=True)

    async def _heavy(self, size: str) -> None:
        await self.step(Embark(voyage=f"{self._voyage}-heavy", plan="x" * int(size)))

    async def _wide(self, size: str) -> None:
        await self.together(*(self.step(Embark(voyage=f"{self._voyage}-{n}", plan="x" * int(size))) for n in range(3)))

    async def _heavyundo(self, size: str) -> None:
        await self.step(Book(leg="light"), undo=Embark(voyage="v", plan="x" * int(size)))

    async def _heavychapter(self, size: str) -> None:
        await self.new_chapter("x" * int(size))

    async def _tell(self, _: str) -> None:
        """Say what no later run may see otherwise."""
        days = round((self.now() - self._began) / timedelta(days=1))
        await self._leg(f"{days}-days-{self._drawn}-{self.patched('way')}")

    async def compensated(self, reason: str) -> None:
        await self.conclude(Permit(leg=f"{self._voyage}-home"))


@workflow.defn
class LongVoyage(
    _Sailing,
    starts_on=Embarked,
    key="voyage",
    expects={Told: "voyage"},
    cancels_on={CalledOff: "voyage"},
    deadline=timedelta(days=30),
    patience=timedelta(seconds=2),
    run_events=25,
):
    @workflow.run
    async def run(self, embarked: Embarked) -> None:
        await self.sail(embarked)


@workflow.defn
class PatientVoyage(
    _Sailing,
    starts_on=Embarked,
    key="voyage",
    expects={Told: "voyage"},
    cancels_on={CalledOff: "voyage"},
    patience=timedelta(seconds=2),
    run_events=25,
):
    """Has no deadline: where time is skipped it would be over as soon as the saga waits."""

    @workflow.run
    async def run(self, embarked: Embarked) -> None:
        await self.sail(embarked)


@workflow.defn
class Listener(Saga, starts_on=Embarked, key="voyage", expects={Told: "voyage"}, run_events=1000):
    """Listens until it hears the end, and says how much it has heard."""

    @workflow.run
    async def run(self, embarked: Embarked) -> None:
        heard: list[str] = []
        while not heard or heard[-1] != "end":
            heard.append((await self.expect(Told)).news)
        await self.step(Embark(voyage=embarked.voyage, plan=" ".join(heard)))


class Log(BaseModel):
    season: int = 1
    left: datetime | None = None


@workflow.defn
class ManySeasons(Saga, starts_on=Embarked, key="voyage", cancels_on={CalledOff: "voyage"}, expects={Told: "voyage"}):
    """Lives for as many seasons as its plan says, each of a month."""

    @workflow.run
    async def run(self, embarked: Embarked, log: Log = Log()) -> None:
        leg = f"{embarked.voyage}-{log.season}"
        await self.step(Book(leg=f"{leg}-open"), undo=Unbook(leg=f"{leg}-open"))
        await self.step(Permit(leg=leg), pivot=True)
        await self.sleep(timedelta(days=30))
        if log.season < int(embarked.plan):
            await self.new_chapter(Log(season=log.season + 1, left=log.left or self.now()))


LONG_VOYAGES = Service("voyages", aggregates=(Voyage,), sagas=(LongVoyage, PatientVoyage, Listener, ManySeasons))
