"""A step that failed, and that its saga went on without, leaves nothing behind once the saga has completed (G4, D2)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from temporalio.client import Client

from sagakit.steps import Verdict
from sagakit.temporal.faults import Fault
from sagakit.temporal.played import Played
from sagakit.temporal.stage import Stage, rehearsing
from tests.support.detours import DETOURS, Detour
from tests.support.running import running
from tests.support.sailing import Sailing, sailing
from tests.support.under_way import DONE, UnderWay
from tests.support.voyage import LEGS, Embark, Embarked, Permit
from tests.support.waiting import until


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing([DETOURS, LEGS], temporal_binary) as stage:
        yield stage


async def _played(stage: Stage, plan: str, faults: Mapping[int, Fault]) -> Played:
    return await stage.play(Detour, Embarked(voyage="v", plan=plan), faults=faults)


def _calls(played: Played) -> list[str]:
    """What reached the legs: ``-a`` is the undo of a, with its effect where that is not the plain one."""
    return [f"{'-' if c.is_undo else ''}{c.fields['leg'].partition('-')[2]} {c.effect}" for c in played.calls]


def _states(played: Played) -> list[str]:
    return [step["state"] for step in played.steps]


@pytest.mark.parametrize("pivot", ["pivot", ""])
async def test_it_is_undone_as_the_saga_completes_d2(stage: Stage, pivot: str) -> None:
    played = await _played(stage, f"a b {pivot}", {1: "silent"})
    assert played.status == "completed"
    done = ["b done", "pivot done"] if pivot else ["b done"]
    assert list(dict.fromkeys(_calls(played))) == ["a done", *done, "-a undone"]
    assert _states(played) == ["undone", *["done" for _ in done]]


async def test_where_it_comes_later_still_it_finds_a_fence_d2(stage: Stage) -> None:
    played = await _played(stage, "a b pivot", {1: "late success"})
    assert played.status == "completed"
    assert _calls(played) == ["b done", "pivot done", "-a nothing", "a fenced"]
    assert played.standing[f"{played.workflow_id}/1/0"] == "fenced"


async def test_a_refusal_leaves_nothing_to_undo(stage: Stage) -> None:
    played = await _played(stage, "a b pivot", {1: "refused"})
    assert played.status == "completed"
    assert _calls(played) == ["a refused", "b done", "pivot done"]
    assert _states(played) == ["refused", "done", "done"]


async def test_what_was_done_by_another_step_after_all_stays(stage: Stage) -> None:
    played = await _played(stage, "a a pivot", {1: "silent"})
    assert played.status == "completed"
    assert not [call for call in _calls(played) if call.startswith("-")], "the undo of the one would undo the other"
    assert _states(played) == ["timed out", "done", "done"]


async def test_where_its_undo_is_parked_a_later_run_goes_on_with_it_g4(stage: Stage) -> None:
    faults: dict[int, Fault] = {1: "silent"}
    async with sailing(stage, [DETOURS, LEGS], Detour, "a news", faults) as voyage:
        await until(lambda: _is_given_up(voyage), "the leg to be given up")
        faults[1] = "undo refused"
        await voyage.tell("fair")
        await voyage.comes_to("parked")
        await voyage.goes_on()
        await voyage.comes_to("parked")
        await voyage.executions.decide(voyage.handle.id, Verdict(action="retry", actor="kim", reason="again"))
        assert (await voyage.handle.result()).status == "completed"
        assert [effect for _, effect in voyage.effects if effect != "done"] == ["refused", "undone"]


async def _is_given_up(voyage: Sailing) -> bool:
    return [step["state"] for step in (await voyage.shown())["steps"]] == ["timed out"]


async def test_of_a_step_that_was_refused_in_part_the_part_is_undone_on_real_services_g4(tmp_path: Path, client: Client) -> None:
    async with running([DETOURS, LEGS], tmp_path, client=client) as system:
        voyage = UnderWay(uuid.uuid4().hex[:12], system, client, "detour")
        await voyage.send(Embark(voyage=voyage.id, plan="sticky-a+b! c pivot"))
        await until(lambda: voyage.stands("parked"), "the refused undo")
        await voyage.send(Permit(leg=f"{voyage.id}-sticky-a"))
        await voyage.executions.decide(voyage.workflow_id, Verdict(action="retry", actor="kim", reason="permitted now"))
        assert (await voyage.handle.result()).status == "completed"
        assert await voyage.legs() == {"sticky-a": ["booked", "permitted", "unbooked"], "c": DONE, "pivot": DONE}


async def test_a_saga_that_fails_later_undoes_it_once(stage: Stage) -> None:
    played = await _played(stage, "a b stranded", {1: "silent"})
    assert (played.status, played.reason) == ("compensated", "no way")
    assert [call for call in _calls(played) if call.startswith("-")] == ["-b undone", "-a undone"]


async def test_a_chapter_ends_with_nothing_left_over(stage: Stage) -> None:
    played = await _played(stage, "a b chapter", {1: "silent"})
    assert played.status == "completed"
    assert list(dict.fromkeys(_calls(played))) == ["a done", "b done", "-a undone"]
