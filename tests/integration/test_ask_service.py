"""A saga asks a Node service over the log and RabbitMQ; early, double, late and missing answers each end right (G3, G4, D3)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from sagakit.asking import require_declared, sending_of
from sagakit.errors import InvalidInput
from sagakit.repository import Context, Repository
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SagaResult, StepRequest
from sagakit.system import System
from sagakit.temporal.sending import sending_activities
from sagakit.testing import rehearsing
from tests.support.command_line import run_command
from tests.support.errands import ERRANDS, PICKERS, Begin, Begun, ErrandSaga, Note, PickDone, PickNoLongerWanted, PickWanted
from tests.support.node_participant import Node
from tests.support.running import log, running
from tests.support.waiting import until

SERVICES = (ERRANDS, PICKERS)
_QUEUES = ("errands.saga.errand-saga", "pickers.answers")


@pytest.fixture
async def system(tmp_path: Path, rabbitmq_url: str, client: Client) -> AsyncIterator[System]:
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        for name in _QUEUES:
            await channel.queue_delete(name, if_unused=False, if_empty=False)
        async with running(SERVICES, tmp_path, client=client, bus=rabbitmq_url) as system:
            await _command(system, "subscriptions", "add", "pickers.answers", "--service", "errands", "--types", _ASKED)

            async def is_declared() -> bool:
                try:
                    await (await connection.channel()).declare_queue("pickers.answers", passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    return False
                return True

            await until(is_declared, "the queue of the Node service", 30)
            yield system


_ASKED = "pick.wanted,pick.no_longer_wanted"


@pytest.fixture
def pickers(system: System, node: Node, rabbitmq_url: str) -> Iterator[subprocess.Popen[str]]:
    assert system
    process = node.start("answer.js", rabbitmq_url, "pickers.answers", "pickers.events")
    yield process
    process.kill()
    process.communicate()


async def _command(system: System, *args: str) -> str:
    code, said = await asyncio.to_thread(run_command, ServiceMap(SERVICES), "--data", str(system.settings.data), *args)
    assert code == 0, said
    return said


async def _result(system: System, client: Client, errand: str, seconds: float) -> SagaResult:
    await system.send(Begin(errand=errand, seconds=seconds), Context())
    handle = client.get_workflow_handle(f"errand-saga/{errand}", result_type=SagaResult)

    async def has_begun() -> bool:
        return len(await log(system, "errands", f"sagakit_saga-errand-saga/{errand}")) > 0

    await until(has_begun, "the request", 30)
    return await asyncio.wait_for(handle.result(), 60)


async def _heard(pickers: subprocess.Popen[str]) -> dict[str, Any]:
    assert pickers.stdout is not None
    line: str = await asyncio.wait_for(asyncio.to_thread(pickers.stdout.readline), 30)
    found: dict[str, Any] = json.loads(line)
    return found


async def test_a_node_service_answers_once_twice_never_and_too_late_g3_g4_d3(
    system: System, client: Client, pickers: subprocess.Popen[str]
) -> None:
    run = uuid.uuid4().hex[:8]
    once = await _result(system, client, f"{run}-once", 60)
    assert (once.status, once.unmatched) == ("completed", ())
    assert [e.type for e in await log(system, "errands", f"errand-{run}-once")] == ["errand.begun", "errand.noted"]
    assert (await _heard(pickers))["type"] == "pick.wanted"

    twice = await _result(system, client, f"{run}-twice", 60)
    assert twice.status == "completed"
    noted = (await log(system, "errands", f"errand-{run}-twice"))[1:]
    assert [json.loads(event.data)["place"] for event in noted] == ["shelf 1"]
    assert (await _heard(pickers))["type"] == "pick.wanted"

    late = await _result(system, client, f"{run}-late", 1)
    assert late.status == "compensated"
    assert "pick.done did not come within" in late.reason
    heard = [await _heard(pickers), await _heard(pickers)]
    assert [(h["type"], h["version"]) for h in heard] == [("pick.wanted", 1), ("pick.no_longer_wanted", 2)]
    assert pickers.stdin is not None
    pickers.stdin.write(f"{run}-late\n")
    pickers.stdin.flush()

    async def is_unmatched() -> bool:
        said = await _command(system, "sagas", "unmatched", "--json")
        return f'"saga": "errand-saga/{run}-late"' in said  # among what the running worker logs meanwhile

    await until(is_unmatched, "the late answer among what is unmatched", 30)
    assert [e.type for e in await log(system, "errands", f"errand-{run}-late")] == ["errand.begun"]
    said = await _command(system, "events", "--stream", f"sagakit_saga-errand-saga/{run}-late", "--json")
    assert [event["type"] for event in json.loads(said[said.index("[{") :])] == [*_ASKED.split(","), "sagakit.event_unmatched"]


async def test_the_answer_may_take_its_real_time_and_whatever_fails_ends_right_g4(temporal_binary: Path) -> None:
    async with rehearsing(SERVICES, temporal_binary) as stage:
        begun, done = Begun(errand="e", seconds=14 * 24 * 3600), PickDone(errand="e", place="here")
        early = await stage.play(ErrandSaga, begun, told=[done], doubled=True)
        assert (early.status, early.unmatched) == ("completed", ())
        nothing = await stage.play(ErrandSaga, begun)
        assert nothing.reason == "pick.done did not come within 14 days, 0:00:00"
        effects = [(call.command, call.effect) for call in nothing.calls]
        assert effects == [("send_pick_wanted", "done"), ("send_pick_no_longer_wanted", "undone")]
        found = await stage.every_failure(ErrandSaga, begun, told=[done], faults=["refused", "crash", "late", "cancelled"])
        assert len(found) == 8


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[System]:
    async with System(load_settings(data=tmp_path, database="sqlite"), ServiceMap(SERVICES)) as system:
        yield system


def _request(message: Any, *, is_undo: bool = False, only_if_done: bool = False) -> StepRequest:
    command = sending_of(type(message))(saga="s/1", message=message.event_name, fields=message.model_dump(mode="json"))
    return StepRequest(
        commands=[command.model_dump(mode="json")],
        key="s/1/1",
        is_undo=is_undo,
        correlation_id="c",
        causation_id="e",
        actor="saga s",
        only_if_done=only_if_done,
    )


def _senders(repository: Repository) -> tuple[Callable[..., Any], Callable[..., Any]]:
    made = {getattr(each, "__temporal_activity_definition").name: each for each in sending_activities(ERRANDS, repository)}
    return made["send_pick_wanted"], made["send_pick_no_longer_wanted"]


async def test_a_message_is_recorded_once_and_never_behind_its_undo_d1_d2(embedded: System) -> None:
    wanted, unwanted = PickWanted(errand="1"), PickNoLongerWanted(errand="1")
    repository = (await embedded.open("errands")).repository
    send, take_back = _senders(repository)
    run = ActivityEnvironment().run
    for _ in range(2):
        assert (await run(send, _request(wanted))).done == 1
    for _ in range(2):
        assert (await run(take_back, _request(unwanted, is_undo=True))).done == 1
    assert (await run(send, _request(wanted, only_if_done=True))).done == 1
    assert [event.type for event in await log(embedded, "errands", "sagakit_saga-s/1")] == [
        "pick.wanted",
        "pick.no_longer_wanted",
    ]


async def test_a_message_that_was_taken_back_before_it_was_sent_never_goes_out_d1(embedded: System) -> None:
    repository = (await embedded.open("errands")).repository
    send, take_back = _senders(repository)
    run = ActivityEnvironment().run
    assert (await run(take_back, _request(PickNoLongerWanted(errand="1"), is_undo=True))).done == 0
    with pytest.raises(ApplicationError, match="its undo came first"):
        await run(send, _request(PickWanted(errand="1")))
    assert await log(embedded, "errands", "sagakit_saga-s/1") == []


def test_what_the_saga_does_not_declare_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidInput, match=r"asks= that it sends PickDone"):
        require_declared("s", ErrandSaga.asks, ErrandSaga.expects, [PickDone(errand="1", place="")], PickDone)
    with pytest.raises(InvalidInput, match=r"expects= which field of PickWanted"):
        require_declared("s", ErrandSaga.asks, ErrandSaga.expects, [PickWanted(errand="1")], PickWanted)
    assert Note.command_name not in {sending_of(message).command_name for message in ErrandSaga.asks}
