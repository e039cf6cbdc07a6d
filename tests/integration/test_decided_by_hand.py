"""What people decide about a saga that is parked, on its way or ended by hand, on a real Temporal server (G4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from sagakit.errors import InvalidInput
from sagakit.steps import Answer, StepReply, Verdict, Wish
from sagakit.system import System
from sagakit.temporal.executions import Executions
from sagakit.temporal.watch import SagaWatch
from tests.support.running import running
from tests.support.under_way import DONE, UNDONE, UnderWay, embark
from tests.support.voyage import LEGS, VOYAGES, Permit, Tell
from tests.support.waiting import until


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running([VOYAGES, LEGS], tmp_path, client=client) as system:
        yield system


async def test_a_refused_undo_is_parked_tried_again_and_ends_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "sticky refuse:pivot")
    await until(lambda: voyage.stands("parked"), "the refused undo")
    with pytest.raises(InvalidInput, match="needs an actor and a reason"):
        await voyage.executions.decide(voyage.workflow_id, Verdict(action="retry", actor="kim", reason=" "))
    await voyage.executions.decide(voyage.workflow_id, Verdict(action="retry", actor="kim", reason="once more"))
    await until(lambda: _tried(voyage, 2), "the second refusal")
    await voyage.send(Permit(leg=f"{voyage.id}-sticky-a"))
    await voyage.executions.decide(voyage.workflow_id, Verdict(action="retry", actor="lee", reason="permitted now"))
    assert (await voyage.handle.result()).status == "compensated"
    assert (await voyage.legs())["sticky-a"] == ["booked", "permitted", "unbooked"]
    assert await voyage.decisions() == [("retry", "kim", "once more"), ("retry", "lee", "permitted now")]


async def _tried(voyage: UnderWay, attempts: int) -> bool:
    shown = await voyage.executions.steps(voyage.workflow_id)
    return any(s["attempts"] == attempts and s["state"].startswith("parked") for s in shown["steps"])


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict(action="skip", actor="kim", reason="by hand"), "completed"),
        (Verdict(action="supply", actor="kim", reason="by phone", reply=StepReply(done=1)), "completed"),
        (Verdict(action="complete", actor="kim", reason="written off"), "completed"),
    ],
)
async def test_a_person_ends_a_parked_step_g4(system: System, client: Client, verdict: Verdict, status: str) -> None:
    voyage = await embark(system, client, "refuse:after")
    await until(lambda: voyage.stands("parked"), "the refused step behind the pivot")
    await voyage.executions.decide(voyage.workflow_id, verdict)
    assert (await voyage.handle.result()).status == status
    assert await voyage.legs() == {"a": DONE, "pivot": DONE}
    assert await voyage.decisions() == [(verdict.action, "kim", verdict.reason)]
    with pytest.raises(InvalidInput, match="has ended: completed"):
        await voyage.executions.decide(voyage.workflow_id, verdict)


async def test_a_pivot_that_is_refused_in_part_is_parked_and_goes_on_where_it_stopped_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "pair-pivot refuse:pivot-too")
    await until(lambda: voyage.stands("parked"), "the pivot, of which a part took effect")
    assert await voyage.legs() == {"a": DONE, "pivot": DONE}
    await voyage.send(Permit(leg=f"{voyage.id}-pivot-too"))
    await voyage.executions.decide(voyage.workflow_id, Verdict(action="retry", actor="kim", reason="permitted now"))
    assert (await voyage.handle.result()).status == "completed"
    assert await voyage.legs() == {"a": DONE, "pivot": DONE, "pivot-too": ["permitted", "booked"], "after": DONE}


async def test_a_person_cancels_before_the_pivot_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "news")
    await until(voyage.has_booked, "the first leg")
    await voyage.executions.cancel(voyage.workflow_id, Wish(actor="kim", reason="changed plans"))
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "cancelled by kim: changed plans")
    assert await voyage.decisions() == [("cancel", "kim", "changed plans")]


@pytest.mark.parametrize("way", ["resume", "compensate", "resume and cancel"])
async def test_a_terminated_saga_is_found_and_begun_anew_g4(system: System, client: Client, way: Any) -> None:
    voyage = await embark(system, client, "together news")
    await until(lambda: _waits(voyage), "the saga to wait")
    await voyage.handle.terminate("by mistake")
    watch = SagaWatch(voyage.executions)
    await until(lambda: _is_found(watch, voyage), "the watch to find it")
    assert await voyage.stands("parked (terminated)")
    await voyage.executions.begin_anew(
        voyage.workflow_id, way.partition(" ")[0], Wish(actor="kim", reason="terminated by mistake")
    )
    if way == "resume":
        await voyage.send(Tell(voyage=voyage.id, news="fair"))
    elif way == "resume and cancel":
        await voyage.executions.cancel(voyage.workflow_id, Wish(actor="kim", reason="rather not"))
    result = await voyage.handle.result()
    if way == "resume":
        assert result.status == "completed"
        assert await voyage.legs() == dict.fromkeys(["a", "b", "c", "pivot", "after"], DONE), "nothing was done twice"
    else:
        assert result.status == "compensated"
        assert await voyage.legs() == dict.fromkeys(["a", "b", "c"], UNDONE)
    assert (await voyage.decisions())[0] == (way.partition(" ")[0], "kim", "terminated by mistake")
    assert voyage.workflow_id not in await watch.look()


async def test_a_saga_that_is_begun_anew_knows_what_it_was_told_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "news ask")
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    await until(lambda: voyage.stands("asking"), "the question")
    await voyage.handle.terminate("by mistake")
    await until(lambda: voyage.stands("parked (terminated)"), "its end")
    await voyage.executions.begin_anew(voyage.workflow_id, "resume", Wish(actor="kim", reason="go on"))
    await until(lambda: voyage.stands("asking"), "the question again, and no wait for the news")
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="sail", actor="kim", reason="calm"))
    assert (await voyage.handle.result()).status == "completed"


async def _waits(voyage: UnderWay) -> bool:
    return len(await voyage.legs()) == 3


async def _is_found(watch: SagaWatch, voyage: UnderWay) -> bool:
    return voyage.workflow_id in await watch.look()


async def test_bad_wishes_are_one_clear_error_each(system: System, client: Client) -> None:
    executions = Executions(client)
    with pytest.raises(InvalidInput, match="there is no saga 'voyage-saga/nobody'"):
        await executions.steps("voyage-saga/nobody")
    voyage = await embark(system, client, "")
    await voyage.handle.result()
    with pytest.raises(InvalidInput, match="has not ended without an outcome"):
        await executions.begin_anew(voyage.workflow_id, "resume", Wish(actor="kim", reason="r"))
    with pytest.raises(InvalidInput, match="has ended"):
        await executions.cancel(voyage.workflow_id, Wish(actor="kim", reason="r"))
