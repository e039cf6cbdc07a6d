"""Roles of one service in processes of their own: each serves all that it takes from the queue they share (G4)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.runtime import Role, Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SagaResult, Verdict
from sagakit.system import System
from sagakit.temporal.executions import Executions
from sagakit.temporal.plugin import connect
from tests.support.bells import BELLS, Cast
from tests.support.waiting import until

_APART: tuple[tuple[Role, ...], ...] = (("commands",), ("sagas",), ("relay", "consumers", "projections"))


@pytest.fixture
async def system(tmp_path: Path, temporal_address: str) -> AsyncIterator[System]:
    """One runtime, with a client of its own, for each of what would be three processes."""
    async with System(load_settings(data=tmp_path), ServiceMap([BELLS])) as system, AsyncExitStack() as running:
        for roles in _APART:
            runtime = Runtime(system, await connect(temporal_address, "default"), roles=roles)
            await runtime.start()
            running.push_async_callback(runtime.drain)
        yield system


async def test_no_task_lands_where_it_is_not_served_g4(system: System, client: Client) -> None:
    bells = [uuid.uuid4().hex[:12] for _ in range(6)]
    await asyncio.gather(*(system.send(Cast(bell=bell), Context()) for bell in bells))
    handles = [client.get_workflow_handle(f"bell-saga/{bell}", result_type=SagaResult) for bell in bells]
    executions = Executions(client)

    async def is_parked(handle: WorkflowHandle) -> bool:
        try:
            return (await executions.look(handle.id)).status == "parked"
        except InvalidInput:
            return False

    for handle in handles:
        await until(lambda handle=handle: is_parked(handle), "the step that is refused", 30)
        await executions.decide(handle.id, Verdict(action="skip", actor="kim", reason="it sounds well"))
    for handle in handles:
        assert (await asyncio.wait_for(handle.result(), 30)).status == "completed"
        tried = [
            (
                event.activity_task_started_event_attributes.attempt,
                event.activity_task_started_event_attributes.last_failure.message,
            )
            for event in (await handle.fetch_history()).events
            if event.HasField("activity_task_started_event_attributes")
        ]
        assert tried == [(1, "")] * 4, "strike, hang_bell, tune_bell, record_saga_decision: each at the first attempt"
