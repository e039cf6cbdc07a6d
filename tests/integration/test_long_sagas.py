"""Sagas that live long go on in new runs, and nobody sees it: not their author, not who steers them (G3, G4, D9 to D13)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from sagakit.saga import Saga
from sagakit.service import ServiceMap
from sagakit.steps import SAGA_STATUS, Answer, Verdict, Wish
from sagakit.temporal.gate import Gate
from sagakit.temporal.participants import Fault
from sagakit.temporal.stage import Stage, rehearsing
from tests.support.long_voyage import LONG_VOYAGES, Listener, LongVoyage, ManySeasons, PatientVoyage
from tests.support.sailing import Sailing, sailing
from tests.support.voyage import LEGS, Embarked
from tests.support.waiting import until

SERVICES = [LONG_VOYAGES, LEGS]


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(SERVICES, temporal_binary, is_prompt=True) as stage:
        yield stage


def _sail(
    stage: Stage, saga: type[Saga], plan: str, faults: dict[int, Fault] | None = None, *, cancelled_at: int = 0
) -> AbstractAsyncContextManager[Sailing]:
    return sailing(stage, SERVICES, saga, plan, faults, cancelled_at=cancelled_at)


def _took(runs: list[Any]) -> timedelta:
    first, last = runs[0].events[0].event_time, runs[-1].events[-1].event_time
    return last.ToDatetime() - first.ToDatetime()


async def _replays(runs: list[Any]) -> set[str]:
    return {(await Gate(ServiceMap(SERVICES)).replay(run, is_open=False)).why for run in runs}


async def test_what_earlier_runs_did_is_undone_in_reverse_d9(stage: Stage) -> None:
    async with _sail(stage, LongVoyage, "legs:6 side:x,y legs:6 pivot", {17: "refused"}) as voyage:
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "rehearsed: the business says no")
        voyage.require_each_once()
        legs, undone = [str(n) for n in range(6)], voyage.undone()
        assert (undone[:6], undone[-6:]) == (legs[::-1], legs[::-1])
        assert set(undone[6:-6]) == {"x-there", "x-back", "y-there", "y-back"}
        assert voyage.effects[-1] == ("home", "done"), "and then the saga's own last step"
        runs = await voyage.runs()
        assert len(runs) >= 5, "forward and back"
        assert max(len(run.events) for run in runs) < 60
        assert await _replays(runs) == {""}
        assert [row["state"] for row in (await voyage.shown())["steps"][:16]] == ["undone"] * 16
        assert [row["number"] for row in (await voyage.shown())["steps"]] == list(range(1, 19))


async def test_the_time_that_is_left_of_a_wait_is_carried_over_g4(stage: Stage) -> None:
    async with _sail(stage, LongVoyage, "watch:10") as voyage:
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "voyage.told did not come within 14 days, 0:00:00")
        runs = await voyage.runs()
        assert len(runs) >= 3
        assert timedelta(days=14) <= _took(runs) < timedelta(days=14, hours=1)


async def test_the_deadline_counts_from_the_first_run_g4(stage: Stage) -> None:
    async with _sail(stage, LongVoyage, "days:10,4") as voyage:
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "cancelled by its deadline of 30 days, 0:00:00")
        assert timedelta(days=30) <= _took(await voyage.runs()) < timedelta(days=30, hours=1)
        assert voyage.undone() == [f"day-{day}" for day in reversed(range(7))]


async def test_the_clock_and_chance_stay_what_they_were_g7(stage: Stage) -> None:
    async with _sail(stage, LongVoyage, "days:3 tell legs:12 side:a,b tell") as voyage:
        assert (await voyage.handle.result()).status == "completed"
        voyage.require_each_once()
        tellings = [leg for leg in voyage.done() if "days" in leg]
        assert len(tellings) == 2
        assert tellings[0] == tellings[1]
        assert tellings[0].startswith("3-days-")
        assert tellings[0].endswith("-True")


async def test_a_parked_step_stays_parked_and_is_decided_in_a_later_run_g4(stage: Stage) -> None:
    async with _sail(stage, PatientVoyage, "leg:a pivot leg:b leg:c", {3: "refused"}) as voyage:
        await voyage.comes_to("parked")
        await voyage.goes_on()
        await voyage.goes_on()
        assert voyage.done() == ["a", "pivot"]
        found = await voyage.handle.describe()
        assert found.typed_search_attributes.get(SAGA_STATUS) == "parked"
        assert (await voyage.shown())["steps"][2]["state"] == "parked: rehearsed: the business says no"
        await voyage.executions.decide(voyage.handle.id, Verdict(action="retry", actor="kim", reason="again"))
        assert (await voyage.handle.result()).status == "completed"
        assert voyage.done() == ["a", "pivot", "b", "c"]
        assert [(d.number, d.action) for d in voyage.cast.decisions] == [(1, "retry")]
        assert [row["attempts"] for row in (await voyage.shown())["steps"]] == [1, 1, 2, 1]


async def test_an_undo_that_is_parked_is_decided_in_a_later_run_d3(stage: Stage) -> None:
    async with _sail(stage, PatientVoyage, "leg:a side:x,y leg:b leg:c pivot", {6: "undo refused", 8: "refused"}) as voyage:
        await voyage.comes_to("parked")
        await voyage.goes_on()
        assert voyage.undone() == ["c"]
        await voyage.executions.decide(voyage.handle.id, Verdict(action="retry", actor="kim", reason="again"))
        assert (await voyage.handle.result()).status == "compensated"
        undone = voyage.undone()
        assert (undone[:2], set(undone[2:6]), undone[6:]) == (["c", "b"], {"x-there", "x-back", "y-there", "y-back"}, ["a"])
        voyage.require_each_once()


async def test_a_question_is_answered_in_a_later_run_g4(stage: Stage) -> None:
    async with _sail(stage, PatientVoyage, "leg:a ask leg:b") as voyage:
        await voyage.comes_to("asking")
        await voyage.goes_on()
        found = await voyage.handle.describe()
        assert found.typed_search_attributes.get(SAGA_STATUS) == "asking"
        assert await found.memo() == {"correlation_id": "c-1", "event_id": "e-1", "hops": 3}
        await voyage.executions.answer(voyage.handle.id, Answer(choice="stay", actor="kim", reason="fog"))
        assert (await voyage.handle.result()).status == "completed"
        assert voyage.done() == ["a", "stay", "b"]
        assert (await voyage.executions.look(voyage.handle.id)).status == "completed"


@pytest.mark.parametrize(("names", "refused"), [("b", 2), ("b,c", 3)])
async def test_a_cancellation_beside_a_refusal_that_the_author_catches_is_not_lost_g4(
    stage: Stage, names: str, refused: int
) -> None:
    async with _sail(stage, LongVoyage, f"leg:a spare:{names} pivot", {refused: "refused"}) as voyage:
        assert (await voyage.handle.result()).status == "completed"
        assert "instead" in voyage.done()
    async with _sail(stage, LongVoyage, f"leg:a spare:{names} pivot", {refused: "refused"}, cancelled_at=2) as voyage:
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "cancelled")
        assert {"instead", "pivot"}.isdisjoint(voyage.done())
        assert voyage.undone()[-1] == "a"
        assert await _replays(await voyage.runs()) == {""}


@pytest.mark.parametrize("by", ["temporal", "person"])
async def test_a_later_run_is_cancelled_g4(stage: Stage, by: str) -> None:
    async with _sail(stage, PatientVoyage, "leg:a leg:b ask") as voyage:
        await voyage.comes_to("asking")
        await voyage.goes_on()
        if by == "temporal":
            await voyage.handle.cancel()
        else:
            await voyage.executions.cancel(voyage.handle.id, Wish(actor="kim", reason="storm"))
        result = await voyage.handle.result()
        assert result.reason == ("cancelled" if by == "temporal" else "cancelled by kim: storm")
        assert voyage.undone() == ["b", "a"]


async def test_an_event_that_comes_again_in_a_later_run_is_one_event_d11(stage: Stage) -> None:
    async with _sail(stage, PatientVoyage, "ask leg:a") as voyage:
        await voyage.comes_to("asking")
        for number in (901, 902):
            await voyage.tell("chatter", number)
        await voyage.goes_on()
        for number in (902, 901, 903):
            await voyage.tell("chatter", number)
        await voyage.executions.answer(voyage.handle.id, Answer(choice="sail", actor="kim", reason="fair"))
        late = [name for name in (await voyage.handle.result()).unmatched if " n90" in name]
        assert late == [f"voyage.told n{number}" for number in (901, 902, 903)]


@pytest.mark.parametrize("way", ["resume", "compensate"])
async def test_a_later_run_that_is_terminated_is_begun_anew_g4(stage: Stage, way: Literal["resume", "compensate"]) -> None:
    async with _sail(stage, PatientVoyage, "leg:a leg:b ask leg:c ask leg:d") as voyage:
        await voyage.comes_to("asking")
        await voyage.goes_on()
        await voyage.executions.answer(voyage.handle.id, Answer(choice="sail", actor="kim", reason="fair"))
        await until(lambda: "c" in voyage.done(), "a step of the later run")
        await voyage.handle.terminate("by mistake")

        async def is_lost() -> bool:
            return voyage.handle.id in [found.workflow_id for found in await voyage.executions.lost()]

        await until(is_lost, "its end to be seen")
        await voyage.executions.begin_anew(voyage.handle.id, way, Wish(actor="kim", reason="by mistake"))
        if way == "resume":
            await voyage.comes_to("asking")
            await voyage.goes_on()
            await voyage.executions.answer(voyage.handle.id, Answer(choice="stay", actor="kim", reason="fog"))
        result = await voyage.handle.result()
        voyage.require_each_once()
        if way == "resume":
            assert result.status == "completed"
            assert voyage.done() == ["a", "b", "sail", "c", "stay", "d"]
        else:
            assert result.status == "compensated"
            assert voyage.undone() == ["c", "sail", "b", "a"]
        assert [d.action for d in voyage.cast.decisions if "answer" not in d.action] == [way]


async def test_a_saga_lives_in_chapters_for_years_d9(stage: Stage) -> None:
    async with _sail(stage, ManySeasons, "16") as voyage:
        assert (await voyage.handle.result()).status == "completed"
        voyage.require_each_once()
        assert voyage.done()[-1] == "16"
        keys = [call.key.rsplit("/", 2)[1] for call in voyage.cast.calls]
        assert keys == [str(number) for number in range(1, 33)], "no key comes twice"
        runs = await voyage.runs()
        assert len(runs) == 16
        assert timedelta(days=16 * 30) <= _took(runs) < timedelta(days=16 * 30, hours=1)
        sizes = [run.events[0].workflow_execution_started_event_attributes.input.ByteSize() for run in runs[1:]]
        assert max(sizes) - min(sizes) < 50, "what is taken along does not grow"


async def test_a_saga_whose_only_chapter_fails_undoes_that_one_g4(stage: Stage) -> None:
    async with _sail(stage, ManySeasons, "3", {4: "refused"}) as voyage:
        assert (await voyage.handle.result()).status == "compensated"
        assert voyage.undone() == ["2-open"]


async def test_the_stage_walks_every_failure_of_a_long_saga_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(LongVoyage, Embarked(voyage="v", plan="legs:4 pivot leg:z"), faults=["cancelled"])
    assert len(scenarios) == 6


async def test_two_hundred_signals_a_second_are_handled_once_each_d10(stage: Stage) -> None:
    """Of 2,200 signals a tenth come twice, out of order; the saga goes on in new runs in the midst of them."""
    order = random.Random(7)
    numbers = [*range(2000), *order.sample(range(2000), 200)]
    order.shuffle(numbers)
    async with _sail(stage, Listener, "") as voyage, asyncio.TaskGroup() as sending:
        began = asyncio.get_running_loop().time()
        for place, number in enumerate(numbers):
            sending.create_task(voyage.tell(f"m{number}", number))
            # A rate is what this is about: no condition could stand for it.
            await asyncio.sleep(max(0, began + place / 200 - asyncio.get_running_loop().time()))
        sending.create_task(_end(voyage, numbers))
        await voyage.handle.result()
        heard = voyage.cast.calls[-1].fields["plan"].split()
        assert Counter(heard) == Counter([f"m{number}" for number in range(2000)] + ["end"])
        runs = await voyage.runs()
        assert len(runs) >= 2
        assert max(len(run.events) for run in runs) < 5000


async def _end(voyage: Sailing, numbers: list[int]) -> None:
    async def are_all_there() -> bool:
        runs = await voyage.runs()
        return sum(event.HasField("workflow_execution_signaled_event_attributes") for run in runs for event in run.events) >= len(
            numbers
        )

    await until(are_all_there, "every signal to be in the history", 60)
    await voyage.tell("end", 9999)
