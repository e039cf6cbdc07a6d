"""The saga test kit: whatever goes wrong at whichever step, the saga ends right (G4). Time is skipped, not waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from sagakit.steps import SagaResult
from sagakit.temporal import conductor
from sagakit.temporal.faults import STEP_FAULTS, UNDO_FAULTS, WAIT_FAULTS
from sagakit.temporal.participants import Participants
from sagakit.temporal.stage import Stage, rehearsing
from sagakit.temporal.telling import Later
from tests.support.voyage import LEGS, VOYAGES, Embarked, Told, VoyageSaga


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing([VOYAGES, LEGS], temporal_binary) as stage:
        yield stage


async def test_every_failure_of_a_saga_ends_right_g4(stage: Stage) -> None:
    event = Embarked(voyage="v", plan="together news ask")
    told = [Told(voyage="v", news="fair")]
    said: list[str] = []
    scenarios = await stage.every_failure(VoyageSaga, event, told=told, answers=["sail"], say=said.append)
    assert len(scenarios) == 5 * len(STEP_FAULTS) + 3 * len(UNDO_FAULTS) + len(WAIT_FAULTS) + 2
    assert scenarios.points == 5 + 3 + 2
    assert said[0].startswith(f"voyage-saga: {len(scenarios)} failures at 10 points (5 refused, 5 crash, ")
    ends = {(s.step, s.fault): s.played.status for s in scenarios}
    reasons = {(s.step, s.fault): s.played.reason for s in scenarios}
    for step in (1, 2, 3):
        assert ends[step, "refused"] == ends[step, "undo refused"] == ends[step, "cancelled"] == "compensated"
        assert ends[step, "crash"] == ends[step, "late"] == "completed"
        assert ends[step, "late success"] == "compensated"
        assert ends[step, "killed"] == ends[step, "double event"] == "completed", reasons
        for fault in UNDO_FAULTS:
            assert ends[step, fault] == "compensated"
    assert ends[4, "refused"] == "compensated"
    assert ends[5, "refused"] == ends[5, "cancelled"] == "completed"
    assert {s.played.was_parked for s in scenarios if s.fault == "undo refused"} == {True}
    for scenario in scenarios:
        if scenario.fault == "late success" and scenario.step <= 3:
            assert [call.effect for call in scenario.played.calls if call.key.endswith(f"/{scenario.step}/0")] == [
                "nothing",
                "fenced",
            ]
    waits = {(s.command.partition(" ")[0], s.fault): s.played.status for s in scenarios if s.place == "wait"}
    assert waits.pop(("`voyage.told`", "wait doubled")) == "completed"
    assert {key for key, status in waits.items() if status == "completed"} == {
        ("`voyage.told`", "wait killed"),
        ("an", "wait killed"),
    }


async def test_a_wait_of_fourteen_days_passes_in_a_moment_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="news"))
    assert (played.status, played.reason) == ("compensated", "voyage.told did not come within 14 days, 0:00:00")


@pytest.mark.parametrize(("days", "status"), [(13, "completed"), (15, "compensated")])
async def test_news_come_on_the_day_they_are_told_g4(stage: Stage, days: int, status: str) -> None:
    played = await stage.play(
        VoyageSaga, Embarked(voyage="v", plan="news"), told=[Later(timedelta(days=days), Told(voyage="v", news="fair"))]
    )
    assert played.status == status, "it waits for 14 days, by its own clock"


async def test_nobody_answers_for_a_week_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="ask"))
    assert (played.status, played.reason) == ("compensated", "nobody answered")


@pytest.mark.parametrize("is_prompt", [False, True])
async def test_no_time_passes_before_a_question_is_seen_g4(
    temporal_binary: Path, monkeypatch: pytest.MonkeyPatch, *, is_prompt: bool
) -> None:
    """Forty looks are lost, two seconds of them: the week in which somebody answers has not gone by meanwhile."""
    seen, lost = conductor.shown_by, iter(range(40))

    async def shown_by(handle: WorkflowHandle[Any, SagaResult]) -> dict[str, Any]:
        if next(lost, None) is not None:
            raise RPCError("rehearsed: the look is lost", RPCStatusCode.CANCELLED, b"")
        return await seen(handle)

    monkeypatch.setattr(conductor, "shown_by", shown_by)
    async with rehearsing([VOYAGES, LEGS], temporal_binary, is_prompt=is_prompt) as stage:
        played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="ask"), answers=["sail"])
    assert next(lost, None) is None
    assert (played.status, played.reason) == ("completed", "")


async def test_what_fails_beside_the_saga_ends_its_rehearsal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time stands still then: it would wait for fourteen days."""

    async def shown_by(_: WorkflowHandle[Any, SagaResult]) -> dict[str, Any]:
        raise KeyError("waited")

    monkeypatch.setattr(conductor, "shown_by", shown_by)
    with pytest.raises(KeyError, match="waited"):
        await stage.play(VoyageSaga, Embarked(voyage="v", plan="news"))


async def test_a_fault_that_the_saga_never_comes_to_is_named_g4(stage: Stage) -> None:
    played = await stage.play(
        VoyageSaga, Embarked(voyage="v", plan=""), faults={1: "late", 9: "killed"}, at_waits={4: "wait lost"}
    )
    assert (played.status, played.missed) == ("completed", ("killed", "wait lost"))


async def test_a_participant_without_fences_is_found_out_g4(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every walk relies on: each of these faults makes a participant that keeps no fence do something twice, or too late."""
    fenced = Participants._do

    def unfenced(self: Participants, name: str, key: str, *rest: Any) -> bool:
        self._effects.pop(key, None)
        return fenced(self, name, key, *rest)

    monkeypatch.setattr(Participants, "_do", unfenced)
    for fault in ("late", "killed", "late success"):
        with pytest.raises(AssertionError, match=r"done twice|left as it was"):
            await stage.play(VoyageSaga, Embarked(voyage="v", plan=""), faults={1: fault})  # type: ignore[dict-item]


async def test_an_event_that_comes_twice_is_one_event_g3(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="news"), told=[Told(voyage="v", news="fair")], doubled=True)
    assert played.status == "completed"
    assert played.unmatched == ()


async def test_nothing_compensable_stands_behind_the_pivot_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="compensable-behind-pivot"))
    assert played.status == "failed"
    assert "nothing compensable" in played.reason
