"""What a saga does when it waits, is refused, is called off or runs side by side, on a real Temporal server (G4)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from sagakit.errors import InvalidInput
from sagakit.steps import Answer
from sagakit.system import System
from sagakit.temporal.bridge import SagaStarter
from tests.support.running import running
from tests.support.under_way import DONE, UNDONE, UnderWay, embark
from tests.support.voyage import LEGS, VOYAGES, CallOff, Embark, Tell, VoyageSaga
from tests.support.waiting import until


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running([VOYAGES, LEGS], tmp_path, client=client) as system:
        yield system


async def test_steps_side_by_side_are_all_undone_when_one_is_refused_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "together refuse:c")
    assert (await voyage.handle.result()).status == "compensated"
    assert await voyage.legs() == {"a": UNDONE, "b": UNDONE}


async def test_steps_side_by_side_are_all_done_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "together")
    assert (await voyage.handle.result()).status == "completed"
    assert await voyage.legs() == dict.fromkeys(["a", "b", "c", "pivot", "after"], DONE)
    shown = await voyage.executions.steps(voyage.workflow_id)
    assert [(s["name"], s["kind"], s["group"], s["state"]) for s in shown["steps"]] == [
        ("book", "compensable", None, "done"),
        ("book", "compensable", 1, "done"),
        ("book", "compensable", 1, "done"),
        ("book", "pivot", None, "done"),
        ("book", "retriable", None, "done"),
    ]


async def test_an_event_is_waited_for_and_a_wrong_one_is_left_g3(system: System, client: Client) -> None:
    voyage = await embark(system, client, "news")
    await voyage.send(Tell(voyage=voyage.id, news="chatter"))
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    result = await voyage.handle.result()
    assert result.status == "completed"
    assert [name.partition(" ")[0] for name in result.unmatched] == ["voyage.told"], "what nobody waited for is named"


async def test_an_event_that_comes_before_the_saga_waits_is_kept_g3(system: System, client: Client) -> None:
    voyage = UnderWay(uuid.uuid4().hex[:12], system, client)
    await voyage.send(Embark(voyage=voyage.id, plan="together news"))
    await voyage.send(Tell(voyage=voyage.id, news="storm"))
    await until(voyage.is_there, "the saga to begin")
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "a storm")
    assert set((await voyage.legs()).keys()) == {"a", "b", "c"}


async def test_a_repeated_event_is_one_event_g3(system: System, client: Client) -> None:
    voyage = await embark(system, client, "ask")
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    await until(lambda: _received(voyage), "the event to be there")
    (told,) = [e for e in await (await system.open("voyages")).store.load(f"voyage-{voyage.id}") if e.type == "voyage.told"]
    await SagaStarter(client, VoyageSaga, system.services.registry, "voyages")(told)
    await until(lambda: voyage.stands("asking"), "the question")
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="sail", actor="kim", reason="calm sea"))
    assert len((await voyage.handle.result()).unmatched) == 1


async def _received(voyage: UnderWay) -> bool:
    history = await voyage.handle.fetch_history()
    return any(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)


async def test_a_business_event_cancels_before_the_pivot_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "news")
    await until(voyage.has_booked, "the first leg")
    await voyage.send(CallOff(voyage=voyage.id))
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "cancelled by voyage.called_off")
    assert await voyage.legs() == {"a": UNDONE}


async def test_a_person_is_asked_and_answers_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "ask")
    await until(lambda: voyage.stands("asking"), "the question")
    with pytest.raises(InvalidInput, match="choose one of: sail, stay"):
        await voyage.executions.answer(voyage.workflow_id, Answer(choice="swim", actor="kim", reason="warm"))
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="stay", actor="kim", reason="fog"))
    assert (await voyage.handle.result()).reason == "stayed"
    assert await voyage.decisions() == [("answer stay", "kim", "fog")]


async def test_a_pivot_of_which_nothing_took_effect_did_not_happen_g4(system: System, client: Client) -> None:
    voyage = await embark(system, client, "pair-pivot refuse:pivot refuse:pivot-too")
    assert (await voyage.handle.result()).status == "compensated"
    assert await voyage.legs() == {"a": UNDONE}


@pytest.mark.parametrize(("plan", "reason"), [("unserved", "no service in the list of services handles unknown_to_all")])
async def test_a_saga_that_is_written_wrong_compensates_g4(system: System, client: Client, plan: str, reason: str) -> None:
    voyage = await embark(system, client, plan)
    result = await voyage.handle.result()
    assert result.status == "compensated"
    assert reason in result.reason
    assert await voyage.legs() == {"a": UNDONE}
