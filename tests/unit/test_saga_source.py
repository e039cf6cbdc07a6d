"""The source of a saga is proven, not proven, or wrong; it is never proven by mistake."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from temporalio import workflow

from sagakit.errors import StepRefused
from sagakit.saga import Saga
from sagakit.saga_source import Report, check_source
from sagakit.service import ServiceMap
from tests.support.command_line import run_command
from tests.support.errands import Begun, ErrandSaga, PickDone, PickNoLongerWanted, PickWanted
from tests.support.errands import Note as NotePlace
from tests.support.shop import Note
from tests.support.voyage import Book, Embarked, Permit, Tell, Told, Unbook
from worker.services import SERVICES

HANDLED = {"book", "unbook", "permit", "tell"}


class Base(Saga, starts_on=Embarked, key="voyage", expects={Told: "voyage"}):
    """What the sagas below have in common; none of them runs."""


def booking(leg: str) -> Book:
    return Book(leg=leg)


class Straight(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        await self.step(Book(leg="a"), undo=Unbook(leg="a"))
        await self.step([booking(leg) for leg in "bc"], undo=[Unbook(leg=leg) for leg in "bc"])
        await self.together(self.step(Book(leg="d"), undo=Unbook(leg="d")), *[self.step(Tell(voyage=v, news="")) for v in "ef"])
        if embarked.plan:
            try:
                await self._permit(embarked)
            except StepRefused:
                return
        for leg in "gh":
            await self.step(Book(leg=leg), undo=Unbook(leg=leg))
        while True:
            if await self.expect(Told):
                break
        await self.step(Permit(leg="a"), pivot=True)
        for leg in "ij":
            await self.step(Tell(voyage=leg, news="gone"))

    async def _permit(self, embarked: Embarked) -> None:
        permit = Permit(leg=embarked.voyage)
        await self.step(permit)

    async def compensated(self, reason: str) -> None:
        await self.conclude(Tell(voyage="a", news=reason))


class BehindThePivot(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Permit(leg="a"), pivot=True)
        await self.step(Book(leg="a"), undo=Unbook(leg="a"))


class TwoPivots(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Permit(leg="a"), pivot=True)
        await self._more()

    async def _more(self) -> None:
        await self.step(Permit(leg="b"), pivot=True)


class PivotWithUndo(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Book(leg="a"), undo=Unbook(leg="a"), pivot=True)


class PivotInAGroup(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.together(self.step(Tell(voyage="a", news="")), self.step(Permit(leg="a"), pivot=True))


class UnservedUndo(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Book(leg="a"), undo=Note(counter="a", text=""))


class UnservedConclusion(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Tell(voyage="a", news=""))

    async def compensated(self, reason: str) -> None:
        await self.conclude(Note(counter="a", text=reason))


class Swallowing(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        try:
            await self.step(Tell(voyage="a", news=""))
        except (ValueError, asyncio.CancelledError):
            return


class Suppressing(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        with suppress(asyncio.CancelledError):
            await self.step(Tell(voyage="a", news=""))


class PivotSuppressed(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        with suppress(StepRefused):
            await self.step(Permit(leg="a"), pivot=True)
        await self.step(Book(leg="a"), undo=Unbook(leg="a"))


class Random(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Tell(voyage="a", news=f"{time.time()} {random.random()}"))


class Unlisted(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.expect(Told)
        await self.step(Tell(voyage="a", news=""))


class PivotInABranch(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        if embarked.plan:
            await self.step(Permit(leg="a"), pivot=True)
        await self.step(Book(leg="a"), undo=Unbook(leg="a"))


class PivotInALoop(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        for leg in "ab":
            await self.step(Permit(leg=leg), pivot=True)


class PivotTried(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        try:
            await self.step(Permit(leg="a"), pivot=True)
            await self.step(Tell(voyage="a", news=""))
        except StepRefused:
            await self.step(Book(leg="a"), undo=Unbook(leg="a"))


class PivotByChance(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        await self.step(Permit(leg="a"), pivot=bool(embarked.plan))


class ClockOfARun(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await self.step(Tell(voyage="a", news=f"{workflow.now()}"))


class ChildBehindThePivot(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        await self.child(Straight, embarked, pivot=True)
        await self.step(Book(leg="a"), undo=Unbook(leg="a"))


class HandedOn(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        await elsewhere(self)


class Computed(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        await self.step(*choose(embarked.plan))


class NotAwaited(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        step = asyncio.create_task(self.step(Tell(voyage="a", news="")))
        await step


class Circular(Base, starts_on=Embarked, key="voyage"):
    async def run(self, embarked: Embarked) -> None:
        await self.step(Tell(voyage="a", news=""))
        await self.run(embarked)


class Inside(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        async def inner() -> None:
            await self.step(Tell(voyage="a", news=""))

        await inner()


class Finally(Base, starts_on=Embarked, key="voyage"):
    async def run(self, _: Embarked) -> None:
        try:
            await self.step(Tell(voyage="a", news=""))
        finally:
            await self.step(Tell(voyage="b", news=""))


async def elsewhere(saga: Saga) -> None:
    await saga.step(Tell(voyage="a", news=""))


def choose(plan: str) -> list[Callable[[], Tell]]:
    return [lambda: Tell(voyage="a", news=plan)]


def check(saga: type[Saga]) -> Report:
    saga.expects = Base.expects if saga is not Unlisted else {}
    return check_source(saga, HANDLED.__contains__)


def test_branches_loops_groups_helpers_and_handlers_are_followed() -> None:
    assert (check(Straight).verdict, check(Straight).findings) == ("proven", ())


@pytest.mark.parametrize(
    ("saga", "what"),
    [
        (BehindThePivot, "book: something compensable behind the pivot"),
        (ChildBehindThePivot, "book: something compensable behind the pivot"),
        (TwoPivots, "permit: a second pivot behind the pivot"),
        (PivotWithUndo, "book: the pivot has no undo, and no step beside it"),
        (PivotInAGroup, "permit: the pivot has no undo, and no step beside it"),
        (UnservedUndo, "no service in the list of services handles note"),
        (UnservedConclusion, "no service in the list of services handles note"),
        (Swallowing, "it swallows a cancellation: let what is no Exception pass, or raise it again"),
        (Suppressing, "it swallows a cancellation: let what is no Exception pass, or raise it again"),
        (Random, "answers otherwise when the saga is replayed: take it from the saga, or from a step"),
        (Unlisted, "it expects voyage.told, which the saga does not list in expects="),
    ],
)
def test_what_is_wrong_for_certain_is_named_with_its_line(saga: type[Saga], what: str) -> None:
    report = check(saga)
    assert report.verdict == "wrong"
    assert any(finding.is_wrong and finding.what.endswith(what) and finding.line > 0 for finding in report.findings), report


@pytest.mark.parametrize(
    ("saga", "why"),
    [
        (ClockOfARun, "now of temporalio is known to one run only: use self.now()"),
        (PivotInABranch, "book: something compensable, perhaps behind the pivot"),
        (PivotInALoop, "permit: a second pivot, perhaps behind the pivot"),
        (PivotTried, "book: something compensable, perhaps behind the pivot"),
        (PivotSuppressed, "book: something compensable, perhaps behind the pivot"),
        (PivotByChance, "whether it is the pivot is decided when it runs"),
        (HandedOn, "self is handed on to where its steps are not followed"),
        (Computed, "the command of this step is not written where it is taken"),
        (NotAwaited, "step is not awaited where it is called"),
        (Circular, "run calls itself, or is called too deep"),
        (Inside, "steps inside the inner inner, whose calls are not followed"),
        (Finally, "steps in a finally, which runs while the saga ends as well"),
    ],
)
def test_what_cannot_be_followed_is_not_proven_and_says_why(saga: type[Saga], why: str) -> None:
    report = check(saga)
    assert report.verdict == "not proven", report
    assert any(why in finding.what for finding in report.findings), report


class AskingTooLate(ErrandSaga, starts_on=Begun, key="errand", asks=(PickWanted,), expects={PickDone: "errand"}):
    async def run(self, begun: Begun) -> None:
        await self.step(NotePlace(errand=begun.errand, place=""), pivot=True)
        await self.ask_service(PickWanted(errand=begun.errand), reply=PickWanted, undo=PickNoLongerWanted(errand=begun.errand))


def test_a_question_to_a_service_is_followed_and_what_is_not_declared_is_wrong() -> None:
    assert check_source(ErrandSaga, {"note_place"}.__contains__).verdict == "proven"
    found = {finding.what for finding in check_source(AskingTooLate, {"note_place"}.__contains__).findings if finding.is_wrong}
    assert found == {
        "it asks pick.no_longer_wanted, which the saga does not list in asks=",
        "it expects pick.wanted, which the saga does not list in expects=",
        "a question that is taken back, behind the pivot",
    }


def test_the_command_proves_the_sagas_of_the_example_and_refuses_a_wrong_one() -> None:
    code, told = run_command(ServiceMap(SERVICES), "sagas", "check")
    assert code == 0
    assert "order-fulfilment: proven" in told
    assert "order-return: proven" in told
