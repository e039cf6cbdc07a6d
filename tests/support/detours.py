"""A saga that goes on without a step which was not done in time, or only in part."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Saga, Service
    from sagakit.errors import DomainError, StepRefused, StepTimedOut
    from tests.support.voyage import Book, Embarked, Told, Unbook, Voyage

IN_TIME = timedelta(minutes=1)


class Stranded(DomainError):
    """There is no way at all."""


@workflow.defn
class Detour(Saga, starts_on=Embarked, key="voyage", expects={Told: "voyage"}, patience=timedelta(minutes=5), run_events=60):
    """Goes through the plan word for word, past every leg that fails.

    ``a`` books leg a, with an undo; ``a+b!`` two in one step, of which the second is refused.
    """

    @workflow.run
    async def run(self, embarked: Embarked, is_second: bool = False) -> None:  # noqa: FBT001 what a chapter begins with
        self._voyage = embarked.voyage
        for word in embarked.plan.split():
            match word:
                case "pivot":
                    await self.step(self._book("pivot"), pivot=True)
                case "news":
                    await self.expect(Told, match=lambda told: told.news != "chatter")
                case "chapter":
                    if not is_second:
                        await self.new_chapter(True)  # noqa: FBT003
                    return
                case "stranded":
                    raise Stranded("no way")
                case legs:
                    await self._leg(legs.split("+"))

    async def _leg(self, names: list[str]) -> None:
        try:
            books = [self._book(name) for name in names]
            await self.step(books, undo=[Unbook(leg=book.leg) for book in books], within=IN_TIME)
        except (StepTimedOut, StepRefused):
            return

    def _book(self, name: str) -> Book:
        return Book(leg=f"{self._voyage}-{name.rstrip('!')}", is_refused=name.endswith("!"))


DETOURS = Service("voyages", aggregates=(Voyage,), sagas=(Detour,))
