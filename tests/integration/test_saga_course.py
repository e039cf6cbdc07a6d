"""What a saga does when it waits, is parked, is ended by hand or runs side by side, on a real Temporal server (G4)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import Answer, SagaResult, StepReply, Verdict, Wish
from sagakit.system import System
from sagakit.temporal.executions import Executions
from sagakit.temporal.plugin import connect
from sagakit.temporal.watch import SagaWatch
from tests.support.voyage import LEGS, VOYAGES, CallOff, Embark, Permit, Tell
from tests.support.waiting import until


@dataclass
class Voyage:
    """One saga under test."""

    id: str
    system: System
    client: Client

    @property
    def workflow_id(self) -> str:
        return f"voyage-saga/{self.id}"

    @property
    def handle(self) -> WorkflowHandle[Any, SagaResult]:
        return self.client.get_workflow_handle(self.workflow_id, result_type=SagaResult)

    @property
    def executions(self) -> Executions:
        return Executions(self.client)

    async def legs(self) -> dict[str, list[str]]:
        reader, found = (await self.system.open("legs")).store.reader(0), dict[str, list[str]]()
        while page := await reader.read(500):
            for event in page:
                if event.aggregate_id.startswith(f"{self.id}-"):
                    found.setdefault(event.aggregate_id.removeprefix(f"{self.id}-"), []).append(event.type.removeprefix("leg."))
        return found

    async def stands(self, status: str) -> bool:
        try:
            return (await self.executions.look(self.workflow_id)).status == status
        except InvalidInput:
            return False

    async def decisions(self) -> list[tuple[str, str, str]]:
        events = await (await self.system.open("voyages")).store.load(f"sagakit_saga-{self.workflow_id}")
        decided = [self.system.services.registry.decode_all(event)[0] for event in events]
        return [(d.action, d.actor, d.reason) for d in decided]  # type: ignore[attr-defined]

    async def send(self, command: Any) -> None:
        assert (await self.system.send(command, Context())).status == "done"


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await connect(temporal_address, "default")


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with System(load_settings(data=tmp_path), ServiceMap([VOYAGES, LEGS])) as system:
        runtime = Runtime(system, client)
        await runtime.start()
        yield system
        await runtime.drain()


async def _embark(system: System, client: Client, plan: str = "") -> Voyage:
    voyage = Voyage(uuid.uuid4().hex[:12], system, client)
    await voyage.send(Embark(voyage=voyage.id, plan=plan))
    await until(lambda: _is_there(voyage), "the saga to begin")
    return voyage


async def _is_there(voyage: Voyage) -> bool:
    try:
        await voyage.executions.look(voyage.workflow_id)
    except InvalidInput:
        return False
    return True


DONE, UNDONE = ["booked"], ["booked", "unbooked"]


async def test_steps_side_by_side_are_all_undone_when_one_is_refused_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "together refuse:c")
    assert (await voyage.handle.result()).status == "compensated"
    assert await voyage.legs() == {"a": UNDONE, "b": UNDONE}


async def test_steps_side_by_side_are_all_done_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "together")
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
    voyage = await _embark(system, client, "news")
    await voyage.send(Tell(voyage=voyage.id, news="chatter"))
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    result = await voyage.handle.result()
    assert result.status == "completed"
    assert [name.partition(" ")[0] for name in result.unmatched] == ["voyage.told"], "what nobody waited for is named"


async def test_an_event_that_comes_before_the_saga_waits_is_kept_g3(system: System, client: Client) -> None:
    voyage = Voyage(uuid.uuid4().hex[:12], system, client)
    await voyage.send(Embark(voyage=voyage.id, plan="together news"))
    await voyage.send(Tell(voyage=voyage.id, news="storm"))
    await until(lambda: _is_there(voyage), "the saga to begin")
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "a storm")
    assert set((await voyage.legs()).keys()) == {"a", "b", "c"}


async def test_a_repeated_event_is_one_event_g3(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "ask")
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    await until(lambda: _received(voyage), "the event to be there")
    (told,) = [e for e in await (await system.open("voyages")).store.load(f"voyage-{voyage.id}") if e.type == "voyage.told"]
    from sagakit.temporal.bridge import SagaStarter
    from tests.support.voyage import VoyageSaga

    await SagaStarter(client, VoyageSaga, system.services.registry, "voyages")(told)
    await until(lambda: voyage.stands("asking"), "the question")
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="sail", actor="kim", reason="calm sea"))
    assert len((await voyage.handle.result()).unmatched) == 1


async def _received(voyage: Voyage) -> bool:
    history = await voyage.handle.fetch_history()
    return any(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)


async def test_a_business_event_cancels_before_the_pivot_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "news")
    await until(lambda: _booked(voyage), "the first leg")
    await voyage.send(CallOff(voyage=voyage.id))
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "cancelled by voyage.called_off")
    assert await voyage.legs() == {"a": UNDONE}


async def _booked(voyage: Voyage) -> bool:
    return bool(await voyage.legs())


async def test_a_person_is_asked_and_answers_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "ask")
    await until(lambda: voyage.stands("asking"), "the question")
    with pytest.raises(InvalidInput, match="choose one of: sail, stay"):
        await voyage.executions.answer(voyage.workflow_id, Answer(choice="swim", actor="kim", reason="warm"))
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="stay", actor="kim", reason="fog"))
    assert (await voyage.handle.result()).reason == "stayed"
    assert await voyage.decisions() == [("answer stay", "kim", "fog")]


async def test_a_refused_undo_is_parked_tried_again_and_ends_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "sticky refuse:pivot")
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


async def _tried(voyage: Voyage, attempts: int) -> bool:
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
    voyage = await _embark(system, client, "refuse:after")
    await until(lambda: voyage.stands("parked"), "the refused step behind the pivot")
    await voyage.executions.decide(voyage.workflow_id, verdict)
    assert (await voyage.handle.result()).status == status
    assert await voyage.legs() == {"a": DONE, "pivot": DONE}
    assert await voyage.decisions() == [(verdict.action, "kim", verdict.reason)]
    with pytest.raises(InvalidInput, match="has ended: completed"):
        await voyage.executions.decide(voyage.workflow_id, verdict)


async def test_a_person_cancels_before_the_pivot_g4(system: System, client: Client) -> None:
    voyage = await _embark(system, client, "news")
    await until(lambda: _booked(voyage), "the first leg")
    await voyage.executions.cancel(voyage.workflow_id, Wish(actor="kim", reason="changed plans"))
    result = await voyage.handle.result()
    assert (result.status, result.reason) == ("compensated", "cancelled by kim: changed plans")
    assert await voyage.decisions() == [("cancel", "kim", "changed plans")]


@pytest.mark.parametrize("way", ["resume", "compensate", "resume and cancel"])
async def test_a_terminated_saga_is_found_and_begun_anew_g4(system: System, client: Client, way: Any) -> None:
    voyage = await _embark(system, client, "together news")
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
    voyage = await _embark(system, client, "news ask")
    await voyage.send(Tell(voyage=voyage.id, news="fair"))
    await until(lambda: voyage.stands("asking"), "the question")
    await voyage.handle.terminate("by mistake")
    await until(lambda: voyage.stands("parked (terminated)"), "its end")
    await voyage.executions.begin_anew(voyage.workflow_id, "resume", Wish(actor="kim", reason="go on"))
    await until(lambda: voyage.stands("asking"), "the question again, and no wait for the news")
    await voyage.executions.answer(voyage.workflow_id, Answer(choice="sail", actor="kim", reason="calm"))
    assert (await voyage.handle.result()).status == "completed"


async def _waits(voyage: Voyage) -> bool:
    return len(await voyage.legs()) == 3


async def _is_found(watch: SagaWatch, voyage: Voyage) -> bool:
    return voyage.workflow_id in await watch.look()


@pytest.mark.parametrize(("plan", "reason"), [("unserved", "no service in the list of services handles unknown_to_all")])
async def test_a_saga_that_is_written_wrong_compensates_g4(system: System, client: Client, plan: str, reason: str) -> None:
    voyage = await _embark(system, client, plan)
    result = await voyage.handle.result()
    assert result.status == "compensated"
    assert reason in result.reason
    assert await voyage.legs() == {"a": UNDONE}


async def test_bad_wishes_are_one_clear_error_each(system: System, client: Client) -> None:
    executions = Executions(client)
    with pytest.raises(InvalidInput, match="there is no saga 'voyage-saga/nobody'"):
        await executions.steps("voyage-saga/nobody")
    voyage = await _embark(system, client, "")
    await voyage.handle.result()
    with pytest.raises(InvalidInput, match="has not ended without an outcome"):
        await executions.begin_anew(voyage.workflow_id, "resume", Wish(actor="kim", reason="r"))
    with pytest.raises(InvalidInput, match="has ended"):
        await executions.cancel(voyage.workflow_id, Wish(actor="kim", reason="r"))
