"""A saga that fails undoes what its children did, and theirs, whenever they ended; a child outlives its parent (G4)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import WorkflowHandle

from sagakit.service import ServiceMap
from sagakit.steps import SagaResult, Verdict, Wish
from sagakit.temporal.gate import Gate
from sagakit.temporal.participants import Fault
from sagakit.temporal.stage import Stage, rehearsing
from tests.support.long_voyage import LONG_VOYAGES, PatientVoyage
from tests.support.sailing import Sailing, sailing
from tests.support.voyage import LEGS, Embarked
from tests.support.waiting import until

SERVICES = [LONG_VOYAGES, LEGS]


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(SERVICES, temporal_binary, is_prompt=True) as stage:
        yield stage


def _sail(stage: Stage, plan: str, faults: dict[int, Fault] | None = None) -> AbstractAsyncContextManager[Sailing]:
    return sailing(stage, SERVICES, PatientVoyage, plan, faults)


def _child(voyage: Sailing, name: str) -> WorkflowHandle[Any, SagaResult]:
    return voyage.stage.client.get_workflow_handle(f"{PatientVoyage.saga_name}/{voyage.voyage}.{name}", result_type=SagaResult)


async def test_what_children_and_grandchildren_did_is_undone_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a child:b=leg:x+child:c=leg:deep+leg:y leg:d pivot", {6: "refused"}) as voyage:
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "rehearsed: the business says no")
        assert voyage.done()[:5] == ["a", "x", "deep", "y", "d"]
        assert voyage.undone() == ["d", "y", "deep", "x", "a"]
        voyage.require_each_once()
        child = _child(voyage, "b")
        assert (await child.result()).reason == f"undone by {voyage.handle.id}"
        found = await child.describe()
        memo = await found.memo()
        assert (memo["correlation_id"], memo["event_id"], memo["hops"]) == ("c-1", "e-1", 4)
        assert (await (await _child(voyage, "b.c").describe()).memo())["hops"] == 5
        assert (await Gate(ServiceMap(SERVICES)).replay(await child.fetch_history(), is_open=False)).why == ""


async def test_a_tree_that_goes_well_completes_g4(stage: Stage) -> None:
    async with _sail(stage, "child:b=leg:x children:c=leg:y&d=leg:z pivot child:e=leg:p+pivot+leg:q") as voyage:
        assert (await voyage.handle.result()).status == "completed"
        assert sorted(voyage.done()) == ["p", "pivot", "pivot", "q", "x", "y", "z"]
        kinds = [(row["name"], row["kind"], row["state"]) for row in (await voyage.shown())["steps"]]
        name = PatientVoyage.saga_name
        assert kinds == [(name, "compensable", "done")] * 3 + [("permit", "pivot", "done"), (name, "retriable", "done")]


async def test_a_child_that_is_undone_is_a_refusal_to_its_parent_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a children:b=leg:x&c=leg:y+refused", {4: "refused"}) as voyage:
        result = await voyage.handle.result()
        assert result.status == "compensated"
        assert result.reason.endswith("was undone: rehearsed: the business says no")
        assert sorted(voyage.undone()) == ["a", "x", "y"]


async def test_a_child_that_may_be_undone_has_no_pivot_g4(stage: Stage) -> None:
    async with _sail(stage, "child:b=leg:x+pivot") as voyage:
        result = await voyage.handle.result()
        assert result.status == "compensated"
        assert "begin the child with pivot=True" in result.reason
        assert voyage.undone() == ["x"]


async def test_a_child_that_is_the_pivot_may_have_its_own_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a pivotchild:b=leg:x+pivot+leg:y leg:z", {3: "refused"}) as voyage:
        assert (await voyage.handle.result()).status == "compensated"
        assert voyage.undone() == ["x", "a"]
    async with _sail(stage, "leg:a pivotchild:b=leg:x+pivot+leg:y leg:z") as voyage:
        assert (await voyage.handle.result()).status == "completed"
        assert voyage.done() == ["a", "x", "pivot", "y", "z"]


async def test_a_child_behind_the_pivot_is_parked_for_a_person_and_tried_again_g4(stage: Stage) -> None:
    async with _sail(stage, "pivot child:b=leg:x+refused", {3: "refused"}) as voyage:
        await voyage.comes_to("parked")
        await voyage.executions.decide(voyage.handle.id, Verdict(action="retry", actor="kim", reason="again"))
        assert (await voyage.handle.result()).status == "completed"
        assert voyage.done()[:2] == ["pivot", "x"]
        assert voyage.done().count("x") == 2, "done, undone, and done under a new key"
        voyage.require_each_once()


async def test_a_parent_that_is_cancelled_has_its_child_cancelled_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a child:b=leg:x+ask+leg:y") as voyage:
        await until(lambda: "x" in voyage.done(), "the child's step")
        await voyage.handle.cancel()
        result = await voyage.handle.result()
        assert (result.status, result.reason) == ("compensated", "cancelled")
        assert voyage.undone() == ["x", "a"]
        assert (await _child(voyage, "b").result()).status == "compensated"


@pytest.mark.parametrize("way", ["resume", "compensate"])
async def test_a_child_outlives_a_terminated_parent_that_takes_it_up_again_g4(
    stage: Stage, way: Literal["resume", "compensate"]
) -> None:
    async with _sail(stage, "leg:a child:b=leg:x+ask+leg:y leg:z") as voyage:
        await until(lambda: "x" in voyage.done(), "the child's step")
        await voyage.handle.terminate("by mistake")
        child = Sailing(stage, voyage.cast, _child(voyage, "b"), voyage.voyage)
        await child.comes_to("asking")
        await child.answer("sail")
        assert (await child.handle.result()).status == "completed"

        async def is_lost() -> bool:
            return voyage.handle.id in [found.workflow_id for found in await voyage.executions.lost()]

        await until(is_lost, "its end to be seen")
        await voyage.executions.begin_anew(voyage.handle.id, way, Wish(actor="kim", reason="by mistake"))
        result = await voyage.handle.result()
        if way == "resume":
            assert (result.status, voyage.done()) == ("completed", ["a", "x", "sail", "y", "z"])
        else:
            assert (result.status, voyage.undone()) == ("compensated", ["y", "sail", "x", "a"])
        voyage.require_each_once()


async def test_a_child_that_is_terminated_is_waited_for_until_a_person_has_decided_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a child:b=leg:x+ask") as voyage:
        await until(lambda: "x" in voyage.done(), "the child's step")
        child = _child(voyage, "b")
        await child.terminate("by mistake")

        async def is_lost() -> bool:
            return child.id in [found.workflow_id for found in await voyage.executions.lost()]

        await until(is_lost, "its end to be seen")
        await voyage.executions.begin_anew(child.id, "compensate", Wish(actor="kim", reason="by mistake"))
        result = await voyage.handle.result()
        assert result.reason.startswith(f"{child.id} was undone: ")
        assert voyage.undone() == ["x", "a"]


async def test_a_parent_goes_on_in_new_runs_while_its_child_is_open_d9(stage: Stage) -> None:
    async with _sail(stage, "leg:a child:b=leg:x+ask+leg:y pivot", {5: "refused"}) as voyage:
        await until(lambda: "x" in voyage.done(), "the child's step")
        await voyage.goes_on()
        child = Sailing(stage, voyage.cast, _child(voyage, "b"), voyage.voyage)
        await child.comes_to("asking")
        await child.goes_on()
        await child.answer("sail")
        result = await voyage.handle.result()
        assert result.status == "compensated"
        assert voyage.done() == ["a", "x", "sail", "y", "home", "home"], "the child's own last step, and then its parent's"
        assert voyage.undone() == ["y", "sail", "x", "a"]
        voyage.require_each_once()


async def test_a_saga_that_another_began_is_no_child_g4(stage: Stage) -> None:
    async with _sail(stage, "leg:a child:b=leg:x") as other:
        await other.handle.result()
        async with sailing(
            stage, SERVICES, PatientVoyage, "leg:k child:b=leg:x", workflow_id=f"t/{uuid.uuid4().hex[:6]}", voyage=other.voyage
        ) as voyage:
            result = await voyage.handle.result()
            assert "already, which another began" in result.reason
            assert voyage.undone() == ["k"]


async def test_the_stage_walks_every_failure_of_a_tree_g4(stage: Stage) -> None:
    event = Embarked(voyage="v", plan="leg:a child:b=leg:x+child:c=leg:deep leg:d pivot leg:z")
    scenarios = await stage.every_failure(PatientVoyage, event, faults=["refused"])
    assert len(scenarios) == 6
    assert {s.played.status for s in scenarios if s.fault == "refused" and s.command != "book"} == {"compensated"}
