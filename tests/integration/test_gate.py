"""A change that would break an open saga is seen before it is deployed; a patched one passes (G7)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate, Replayed
from sagakit.temporal.participants import Participants
from sagakit.temporal.plugin import CommandRouting, connect
from sagakit.temporal.sandbox import workflow_runner
from sagakit.temporal.stage import Stage, rehearsing
from tests.support.changing import with_a_sleep_before
from tests.support.faulty import PARTS, RUNS
from tests.support.voyage import LEGS, VOYAGES, Embarked, VoyageSaga

SERVICES = ServiceMap([VOYAGES, LEGS])


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing([VOYAGES, LEGS], temporal_binary) as stage:
        yield stage


async def _gate(client: Client, workflow_id: str, *, is_open: bool) -> Replayed:
    handle = client.get_workflow_handle(workflow_id)
    return await Gate(SERVICES).replay(await handle.fetch_history(), is_open=is_open)


async def test_a_bad_change_is_named_with_the_event_and_a_patched_one_passes_g7(
    fresh_temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connect(fresh_temporal, "default")
    workflow_id = f"voyage-saga/{uuid.uuid4().hex[:8]}"
    asked = asyncio.Event()

    async def on_call(_number: int) -> None:
        asked.set()

    cast = Participants({}, on_call)
    async with Worker(
        client,
        task_queue="voyages",
        workflows=[VoyageSaga],
        activities=cast.activities(SERVICES.registry.commands),
        interceptors=[CommandRouting(_Here())],
        workflow_runner=workflow_runner(client.data_converter, [VoyageSaga]),
    ):
        handle = await client.start_workflow(
            "VoyageSaga", Embarked(voyage="v", plan="news"), id=workflow_id, task_queue="voyages"
        )
        await asyncio.wait_for(asked.wait(), 20)
    assert (await _gate(client, workflow_id, is_open=True)).verdict == "same"

    original = VoyageSaga.step
    monkeypatch.setattr(VoyageSaga, "step", with_a_sleep_before(original, lambda *_: True))
    bad = await _gate(client, workflow_id, is_open=True)
    assert (bad.verdict, bad.workflow_id) == ("breaks", workflow_id)
    assert bad.why.startswith("at event 6, ActivityTaskScheduled"), bad.why

    monkeypatch.setattr(VoyageSaga, "step", with_a_sleep_before(original, lambda saga, _: saga.patched("sleep-first")))
    assert (await _gate(client, workflow_id, is_open=True)).verdict == "same"
    await handle.terminate()


class _Here:
    def queue_of(self, _command: str) -> str | None:
        return "voyages"


async def test_a_saga_that_nobody_knows_any_more_breaks_g7(stage: Stage) -> None:
    await stage.play(VoyageSaga, Embarked(voyage="v", plan=""))
    others = Gate(ServiceMap([RUNS, PARTS]))
    found = [replayed async for replayed in others.replay_all(stage.client, 10)]
    assert {(f.saga, f.verdict) for f in found} == {("VoyageSaga", "another path")}
    assert {f.verdict for f in [r async for r in Gate(SERVICES).replay_all(stage.client, 10)]} == {"same"}
