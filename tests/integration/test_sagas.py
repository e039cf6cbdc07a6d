"""Sagas on a real Temporal server: however they go, they end completed, compensated, or parked for a person (G4)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from sagakit.repository import Context, Repository
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SAGA_STATUS, SagaResult, Verdict
from sagakit.system import System
from tests.support.faulty import PARTS, RUNS, Begin
from tests.support.running import running


@pytest.fixture(params=[False, True], ids=["ordinary", "fast"])
async def system(tmp_path: Path, client: Client, request: pytest.FixtureRequest) -> AsyncIterator[System]:
    async with running([RUNS, replace(PARTS, fast_steps=request.param)], tmp_path, client=client) as system:
        yield system


async def _begin(system: System, client: Client, fail: str) -> tuple[str, WorkflowHandle]:
    run = uuid.uuid4().hex[:12]
    await system.send(Begin(run=run, fail=fail), Context())
    handle = client.get_workflow_handle(f"faulty-saga/{run}", result_type=SagaResult)
    async with asyncio.timeout(20):
        while not await _is_there(handle):
            await asyncio.sleep(0.05)
    return run, handle


async def _is_there(handle: WorkflowHandle) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND
        return False
    return True


async def _parts(system: System, run: str) -> dict[str, list[str]]:
    store = (await system.open("parts")).store
    names = ("one", "two", "pivot", "after")
    return {name: [event.type for event in await store.load(f"part-{run}-{name}")] for name in names}


DONE, UNDONE = ["part.done"], ["part.done", "part.undone"]


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        ("", {"one": DONE, "two": DONE, "pivot": DONE, "after": DONE}),
        ("one", {"one": [], "two": [], "pivot": [], "after": []}),
        ("two", {"one": UNDONE, "two": [], "pivot": [], "after": []}),
        ("pivot", {"one": UNDONE, "two": UNDONE, "pivot": [], "after": []}),
        ("python", {"one": UNDONE, "two": UNDONE, "pivot": [], "after": []}),
    ],
)
async def test_a_failure_at_each_step_undoes_what_was_done_g4(
    system: System, client: Client, fail: str, expected: dict[str, list[str]]
) -> None:
    run, handle = await _begin(system, client, fail)
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.status == ("compensated" if fail else "completed")
    assert await _parts(system, run) == expected
    if fail:
        assert ("KeyError" if fail == "python" else "says no") in result.reason


async def test_compensation_goes_in_reverse_g4(system: System, client: Client) -> None:
    run, handle = await _begin(system, client, "pivot")
    await asyncio.wait_for(handle.result(), 30)
    reader = (await system.open("parts")).store.reader(0)
    undone = [event.stream for event in await reader.read(100) if event.type == "part.undone" and run in event.stream]
    assert undone == [f"part-{run}-two", f"part-{run}-one"]


async def test_a_cancelled_saga_compensates_g4(system: System, client: Client) -> None:
    run, handle = await _begin(system, client, "wait")
    async with asyncio.timeout(20):
        while (await _parts(system, run))["two"] != DONE:
            await asyncio.sleep(0.02)
    await handle.cancel()
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.status == "compensated"
    assert result.reason == "cancelled"
    assert (await _parts(system, run))["one"] == (await _parts(system, run))["two"] == UNDONE


async def test_a_refusal_behind_the_pivot_parks_the_saga_for_a_person_g4(system: System, client: Client) -> None:
    run, handle = await _begin(system, client, "after")
    async with asyncio.timeout(20):
        while (await handle.describe()).typed_search_attributes.get(SAGA_STATUS) != "parked":
            await asyncio.sleep(0.05)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("decide_parked_step", Verdict(action="skip", actor="kim", reason=" "))
    answer = await handle.execute_update("decide_parked_step", Verdict(action="skip", actor="kim", reason="done by hand"))
    assert answer == "skip: do"
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.status == "completed"
    assert (await _parts(system, run))["after"] == []
    assert (await _parts(system, run))["pivot"] == DONE


async def test_a_mistake_behind_the_pivot_is_seen_and_undoes_nothing_g4(system: System, client: Client) -> None:
    run, handle = await _begin(system, client, "mistake-behind-pivot")
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 30)
    assert (await handle.describe()).typed_search_attributes.get(SAGA_STATUS) == "parked"
    assert (await _parts(system, run)) == {"one": DONE, "two": DONE, "pivot": DONE, "after": []}


async def test_the_event_that_starts_a_saga_starts_it_once_g3(system: System, client: Client) -> None:
    run, handle = await _begin(system, client, "")
    await asyncio.wait_for(handle.result(), 30)
    first = await handle.describe()
    store = (await system.open("runs")).store
    event = next(event for event in await store.load(f"run-{run}"))
    from sagakit.temporal.bridge import SagaStarter
    from tests.support.faulty import FaultySaga

    await SagaStarter(client, FaultySaga, system.services.registry, "runs")(event)
    assert (await handle.describe()).run_id == first.run_id


async def test_what_the_temporal_ui_shows(system: System, client: Client) -> None:
    _, handle = await _begin(system, client, "two")
    await asyncio.wait_for(handle.result(), 30)
    description = await handle.describe()
    assert await description.static_summary() == f"faulty-saga of run-{handle.id.partition('/')[2]}, started by run.begun"
    assert description.typed_search_attributes.get(SAGA_STATUS) == "compensated"
    history = await handle.fetch_history()
    scheduled = [
        e.activity_task_scheduled_event_attributes
        for e in history.events
        if e.HasField("activity_task_scheduled_event_attributes")
    ]
    if system.services.service("parts").fast_steps:
        assert scheduled == []
        return
    assert [activity.activity_type.name for activity in scheduled] == ["do", "do", "undo", "undo"]
    assert {activity.task_queue.name for activity in scheduled} == {"parts"}


@pytest.mark.parametrize("bus", ["memory", "rabbitmq"])
async def test_without_a_relay_no_saga_starts(tmp_path: Path, client: Client, bus: str, request: pytest.FixtureRequest) -> None:
    url = bus if bus == "memory" else request.getfixturevalue("rabbitmq_url")
    async with System(load_settings(data=tmp_path, bus=url), ServiceMap([RUNS, PARTS])) as system:
        deaf = Runtime(system, client, roles=("commands", "consumers", "projections", "sagas"))
        await deaf.start()
        run = uuid.uuid4().hex[:12]
        await system.send(Begin(run=run), Context())
        handle = client.get_workflow_handle(f"faulty-saga/{run}", result_type=SagaResult)
        await deaf.drain()
        with pytest.raises(RPCError, match="not found"):
            await handle.describe()
        relay_began = datetime.now(UTC)
        whole = Runtime(system, client)
        await whole.start()
        async with asyncio.timeout(20):
            while not await _is_there(handle):
                await asyncio.sleep(0.05)
            assert (await handle.result()).status == "completed"
        assert (await handle.describe()).start_time > relay_began
        await whole.drain()


def _held(monkeypatch: pytest.MonkeyPatch, deed: str, part: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the ``handle`` or ``undo`` of one part: (it was reached, it may go on)."""
    reached, may_go_on, real = asyncio.Event(), asyncio.Event(), getattr(Repository, deed)

    async def gated(self: Repository, aggregate: Any, command: Any, *rest: Any, **options: Any) -> Any:
        if command.aggregate_id.endswith(f"-{part}"):
            reached.set()
            await may_go_on.wait()
        return await real(self, aggregate, command, *rest, **options)

    monkeypatch.setattr(Repository, deed, gated)
    return reached, may_go_on


@pytest.mark.parametrize(
    ("at", "ends", "expected"),
    [
        ("one", "compensated", {"one": UNDONE, "two": [], "pivot": [], "after": []}),
        ("two", "compensated", {"one": UNDONE, "two": UNDONE, "pivot": [], "after": []}),
        ("pivot", "completed", {"one": DONE, "two": DONE, "pivot": DONE, "after": DONE}),
        ("after", "completed", {"one": DONE, "two": DONE, "pivot": DONE, "after": DONE}),
    ],
)
async def test_a_cancellation_at_each_step_ends_in_a_declared_outcome_g4(
    system: System, client: Client, monkeypatch: pytest.MonkeyPatch, at: str, ends: str, expected: dict[str, list[str]]
) -> None:
    """A step in hand is finished first; behind the pivot there is only forward (failures D5, D1)."""
    reached, may_go_on = _held(monkeypatch, "handle", at)
    run, handle = await _begin(system, client, "")
    await asyncio.wait_for(reached.wait(), 20)
    await handle.cancel()
    may_go_on.set()
    if system.services.service("parts").fast_steps:  # it hears of it once its fast steps are over, and is behind its pivot then
        ends, expected = "completed", {"one": DONE, "two": DONE, "pivot": DONE, "after": DONE}
    result = await asyncio.wait_for(handle.result(), 30)
    assert (result.status, result.reason) == (ends, "cancelled" if ends == "compensated" else "")
    assert await _parts(system, run) == expected
    assert (await handle.describe()).typed_search_attributes.get(SAGA_STATUS) == ends


@pytest.mark.parametrize("at", ["one", "two"])
async def test_what_a_lost_workflow_task_had_done_is_undone_when_its_repetition_is_cancelled_g4(
    system: System, client: Client, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Temporal refuses the end of a saga that was cancelled meanwhile: fast steps took effect, and nothing records them."""
    reached, may_go_on = _held(monkeypatch, "handle", at)
    run, handle = await _begin(system, client, "no-pivot")
    await asyncio.wait_for(reached.wait(), 20)
    await handle.cancel()
    may_go_on.set()
    result = await asyncio.wait_for(handle.result(), 30)
    assert (result.status, result.reason) == ("compensated", "cancelled")
    is_fast = system.services.service("parts").fast_steps
    assert await _parts(system, run) == {
        "one": UNDONE,
        "two": UNDONE if is_fast or at == "two" else [],
        "pivot": [],
        "after": [],
    }


@pytest.mark.parametrize("at", ["two", "one"])
async def test_a_cancellation_during_the_compensation_does_not_stop_it_g4(
    system: System, client: Client, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """It would leave the saga half undone (failures D5)."""
    reached, may_go_on = _held(monkeypatch, "undo", at)
    run, handle = await _begin(system, client, "pivot")
    await asyncio.wait_for(reached.wait(), 20)
    await handle.cancel()
    may_go_on.set()
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.status == "compensated"
    assert "says no" in result.reason
    assert await _parts(system, run) == {"one": UNDONE, "two": UNDONE, "pivot": [], "after": []}
