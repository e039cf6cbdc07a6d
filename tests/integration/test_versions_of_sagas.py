"""An old and a new build side by side, with sagas whose code does not fit together: each saga ends on the build that began it (G7)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import CORRELATION_ID, SAGA_STATUS, Answer, SagaResult, Wish
from sagakit.system import System
from sagakit.temporal.executions import Executions
from sagakit.temporal.gate import Gate
from sagakit.temporal.past import pinned_version
from sagakit.temporal.plugin import connect
from sagakit.temporal.versions import Version, Versions
from tests.support.command_line import run_command
from tests.support.tours import BeginTour
from tests.support.tours_new import NEW
from tests.support.tours_old import OLD
from tests.support.waiting import until

# Temporal looks every three minutes whether a version has drained, and not before three minutes; here each second.
QUICK = ("VersionDrainageStatusVisibilityGracePeriod", "VersionDrainageStatusRefreshInterval")


@dataclass
class Sailors:
    """The processes of two builds on one data folder and one Temporal server."""

    client: Client
    folder: Path
    deployment_name: str = "sagakit-{service}"
    running: dict[str, tuple[System, Runtime]] = field(default_factory=dict)

    @property
    def deployments(self) -> list[str]:
        return list(dict.fromkeys(self.deployment_name.replace("{service}", name) for name in ("tours", "places")))

    @property
    def versions(self) -> Versions:
        return Versions(self.client, self.deployments)

    @property
    def executions(self) -> Executions:
        return Executions(self.client)

    async def start(self, build_id: str | None, services: ServiceMap, *roles: str) -> None:
        settings = load_settings(data=self.folder, build_id=build_id, deployment_name=self.deployment_name)
        system = await System(settings, services).__aenter__()
        runtime = Runtime(system, self.client, roles=roles)
        await runtime.start()
        self.running[build_id or ""] = (system, runtime)
        if build_id is not None:
            await until(lambda: self._is_seen(build_id), f"Temporal to see build {build_id}")

    async def _is_seen(self, build_id: str) -> bool:
        return len([version for version in await self.versions.listed() if version.build_id == build_id]) == len(self.deployments)

    async def stop(self, build_id: str) -> None:
        system, runtime = self.running.pop(build_id)
        await runtime.drain()
        await system.__aexit__(None, None, None)

    async def begin(self, plan: str = "") -> WorkflowHandle[Any, SagaResult]:
        """Begin a tour by a command to whichever process runs, and wait until its saga asks."""
        tour = uuid.uuid4().hex[:12]
        system, _ = next(iter(self.running.values()))
        assert (await system.send(BeginTour(tour=tour, plan=plan), Context())).status == "done"
        handle = self.client.get_workflow_handle(f"lead-tour/{tour}", result_type=SagaResult)
        await until(lambda: self.stands(handle, "asking"), "the saga to ask")
        return handle

    async def stands(self, handle: WorkflowHandle[Any, SagaResult], status: str) -> bool:
        try:
            return (await self.executions.look(handle.id)).status == status
        except InvalidInput:
            return False

    async def answer(self, handle: WorkflowHandle[Any, SagaResult]) -> None:
        await self.executions.answer(handle.id, Answer(choice="on", actor="kim", reason="a fine day"))

    async def visited(self, handle: WorkflowHandle[Any, SagaResult]) -> list[str]:
        """Name the places of a tour, each with the build whose code handled the visit, in the order of the visits."""
        tour = handle.id.removeprefix("lead-tour/")
        system, _ = next(iter(self.running.values()))
        events = await (await system.open("places")).store.reader(0).read(1000)
        return [
            f"{event.aggregate_id.removeprefix(f'{tour}-')} by {json.loads(event.data)['build']}"
            for event in events
            if event.aggregate_id.startswith(tour)
        ]

    async def version(self, build_id: str) -> Version:
        """Look at a build of the deployment that the sagas are of."""
        found = [version for version in await self.versions.listed() if version.build_id == build_id]
        return next(version for version in found if version.deployment == self.deployments[0])


@pytest.fixture
async def sailors(temporal_binary: Path, tmp_path: Path) -> AsyncIterator[Sailors]:
    quick = [word for name in QUICK for word in ("--dynamic-config-value", f'matching.wv.{name}="1s"')]
    server = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(temporal_binary),
        search_attributes=[SAGA_STATUS, CORRELATION_ID],
        dev_server_extra_args=quick,
    )
    client = await connect(server.client.service_client.config.target_host, "default")
    sailors = Sailors(client, tmp_path)
    yield sailors
    for build_id in list(sailors.running):
        await sailors.stop(build_id)
    await server.shutdown()


async def _require_no_failed_task(*handles: WorkflowHandle[Any, SagaResult]) -> None:
    for handle in handles:
        history = await handle.fetch_history()
        failed = [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]
        assert not failed, failed


OLD_WAY, NEW_WAY = ["old.a1 by 1", "old.end by 1"], ["new.a1 by 2", "new.b1 by 2", "new.end by 2"]


async def test_each_saga_ends_on_the_build_that_began_it_and_the_old_build_may_be_stopped_g7(sailors: Sailors) -> None:
    await sailors.start("1", OLD)
    assert await sailors.versions.without_current() == sailors.deployments
    assert await sailors.versions.make_current("1") == sailors.deployments
    assert await sailors.versions.make_current("1") == []
    old = await sailors.begin("detour")
    await sailors.start("2", NEW, "sagas", "commands")
    beside = await sailors.begin()  # build 2 runs, and is not current yet
    await sailors.versions.make_current("2")
    # The process of build 1 still leads the relay and consumes the events: the sagas that it starts go to build 2.
    new = await sailors.begin()
    await until(lambda: _counts(sailors, 2, 1), "Temporal to count the open sagas")
    assert not (await sailors.version("1")).may_be_stopped

    # The old sagas are read anew from their histories, by a process of build 1 that only finishes what is pinned to it.
    await sailors.stop("1")
    await sailors.start("1", OLD, "sagas", "commands")
    for handle in (old, beside, new):
        await sailors.answer(handle)
        assert (await handle.result()).status == "completed"
    # The other service is a deployment of its own: its commands, and the child that it runs, take its current build.
    assert await sailors.visited(old) == ["old.a1 by 1", "detour-new.detour by 2", "old.end by 2"]
    assert await sailors.visited(beside) == ["old.a1 by 1", "old.end by 2"]
    assert await sailors.visited(new) == NEW_WAY
    await _require_no_failed_task(old, beside, new)

    await until(lambda: _may_be_stopped(sailors, "1"), "build 1 to drain")
    await sailors.stop("1")
    await sailors.stop("2")
    await sailors.start("2", NEW)
    last = await sailors.begin()
    await sailors.answer(last)
    assert (await last.result()).status == "completed"
    assert await sailors.visited(last) == NEW_WAY


async def _counts(sailors: Sailors, old: int, new: int) -> bool:
    return ((await sailors.version("1")).open_sagas, (await sailors.version("2")).open_sagas) == (old, new)


async def _may_be_stopped(sailors: Sailors, build_id: str) -> bool:
    return (await sailors.version(build_id)).may_be_stopped


async def test_what_goes_on_in_a_new_run_stays_on_its_build_and_a_new_chapter_takes_the_current_one_g7(sailors: Sailors) -> None:
    sailors.deployment_name = "fleet"  # all services are released together
    await sailors.start("1", OLD)
    await sailors.versions.make_current("1")
    long, detour, seasons, lost = [await sailors.begin(plan) for plan in ("long", "detour", "seasons", "")]
    await sailors.start("2", NEW, "sagas", "commands")
    await sailors.versions.make_current("2")
    first_run = (await long.describe()).run_id

    # The gate of build 2 names them, and none is in its way: it would be, were they of no version.
    replayed = [found async for found in Gate(NEW, build_id="2").replay_all(sailors.client, 0)]
    assert {found.verdict for found in replayed} == {"pinned to 1"}
    assert len(replayed) == 4
    assert {found.verdict async for found in Gate(NEW, build_id="1").replay_all(sailors.client, 0)} == {"breaks"}
    assert {found.verdict async for found in Gate(OLD, build_id="1").replay_all(sailors.client, 0)} == {"same"}

    await lost.terminate("by mistake")
    await until(lambda: _is_lost(sailors, lost), "the termination to be seen")
    await sailors.executions.begin_anew(lost.id, "resume", Wish(actor="kim", reason="terminated by mistake"))
    await until(lambda: sailors.stands(lost, "asking"), "it to ask again")
    for handle in (long, detour, seasons, lost):
        await sailors.answer(handle)
    assert (await lost.result()).status == (await detour.result()).status == "completed"
    assert await sailors.visited(lost) == OLD_WAY
    assert await sailors.visited(detour) == ["old.a1 by 1", "detour-old.detour by 1", "old.end by 1"]

    await until(lambda: sailors.stands(long, "asking"), "the long tour to ask again")
    assert (await long.describe()).run_id != first_run
    await sailors.answer(long)
    assert (await long.result()).status == "completed"
    assert await sailors.visited(long) == ["old.a1 by 1", *(f"old.long{number} by 1" for number in range(4)), "old.end by 1"]

    await until(lambda: sailors.stands(seasons, "asking"), "the second season to ask")
    assert await sailors.visited(seasons) == ["old.a1 by 1", "new.a2 by 2", "new.b2 by 2"]
    await sailors.answer(seasons)
    assert (await seasons.result()).status == "completed"
    assert (await sailors.visited(seasons))[-1] == "new.end by 2"
    await _require_no_failed_task(long, detour, seasons, lost)


async def _is_lost(sailors: Sailors, handle: WorkflowHandle[Any, SagaResult]) -> bool:
    return (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED


async def test_the_command_line_lists_builds_and_refuses_what_cannot_be_made_current_g7(
    sailors: Sailors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", sailors.client.service_client.config.target_host)
    monkeypatch.setenv("SAGAKIT_DATA", str(sailors.folder))

    async def run(*args: str) -> tuple[int, str]:
        return await asyncio.to_thread(run_command, OLD, "sagas", *args)

    await sailors.start(None, OLD)
    before = await sailors.begin()  # of no version
    assert await run("versions", "--json") == (0, "[]\n")
    code, said = await run("make-current", "1")
    assert (code, said) == (
        2,
        "error: Temporal has seen no worker of deployment 'sagakit-tours': start one with SAGAKIT_BUILD_ID=1 first\n",
    )
    await sailors.start("1", OLD)
    code, said = await run("make-current", "7")
    assert (code, said) == (2, "error: deployment 'sagakit-tours' has no build '7'; known: 1\n")
    assert await run("make-current", "1", "--service", "nobody") == (
        2,
        "error: there is no service 'nobody'; known: tours, places\n",
    )
    assert [(v["build_id"], v["status"]) for v in json.loads((await run("versions", "--json"))[1])] == [("1", "inactive")] * 2
    assert await run("make-current", "1", "--service", "tours") == (0, "sagakit-tours: build 1 is current\n")
    assert await run("make-current", "1") == (0, "sagakit-places: build 1 is current\n")
    assert await run("make-current", "1") == (0, "build 1 is current already\n")
    await sailors.stop("")
    pinned = await sailors.begin()
    await until(lambda: _counts_one(sailors), "Temporal to count the open saga")
    listed = json.loads((await run("versions", "--json", "--service", "tours"))[1])
    assert listed == [
        {"deployment": "sagakit-tours", "build_id": "1", "status": "current", "open_sagas": 1, "may_be_stopped": False}
    ]
    code, said = await run("versions")
    assert code == 0
    assert "sagakit-places" in said
    assert (await run("list", "--build", "1' or '"))[1] == "error: \"1' or '\" is no build id; `sagas versions` names them\n"

    # What was open before the first build is taken over by the one that is current, and pinned to it.
    await sailors.answer(before)
    assert (await before.result()).status == "completed"
    assert pinned_version((await before.fetch_history()).events).build_id == "1"
    listed = json.loads((await run("list", "--build", "1", "--json"))[1])
    assert [saga["workflow_id"] for saga in listed] == [pinned.id]
    assert json.loads((await run("list", "--build", "2", "--json"))[1]) == []


async def _counts_one(sailors: Sailors) -> bool:
    return (await sailors.version("1")).open_sagas == 1
