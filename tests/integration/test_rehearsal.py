"""The saga test kit: whatever goes wrong at whichever step, the saga ends right (G4). Time is skipped, not waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagakit.temporal.rehearsal import Stage, rehearsing
from tests.support.voyage import LEGS, VOYAGES, Embarked, Told, VoyageSaga


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing([VOYAGES, LEGS], temporal_binary) as stage:
        yield stage


async def test_every_failure_of_a_saga_ends_right_g4(stage: Stage) -> None:
    event = Embarked(voyage="v", plan="together news ask")
    told = [Told(voyage="v", news="fair")]
    scenarios = await stage.every_failure(VoyageSaga, event, told=told, answers=["sail"])
    assert len(scenarios) == 5 * 5 + 3
    ends = {(s.step, s.fault): s.played.status for s in scenarios}
    for step in (1, 2, 3):
        assert ends[step, "refused"] == ends[step, "undo refused"] == ends[step, "cancelled"] == "compensated"
        assert ends[step, "crash"] == ends[step, "late"] == "completed"
    assert ends[4, "refused"] == "compensated"
    assert ends[5, "refused"] == ends[5, "cancelled"] == "completed"
    assert {s.played.was_parked for s in scenarios if s.fault == "undo refused"} == {True}


async def test_a_wait_of_fourteen_days_passes_in_a_moment_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="news"))
    assert (played.status, played.reason) == ("compensated", "voyage.told did not come within 14 days, 0:00:00")


async def test_nobody_answers_for_a_week_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="ask"))
    assert (played.status, played.reason) == ("compensated", "nobody answered")


async def test_an_event_that_comes_twice_is_one_event_g3(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="news"), told=[Told(voyage="v", news="fair")], doubled=True)
    assert played.status == "completed"
    assert played.unmatched == ()


async def test_nothing_compensable_stands_behind_the_pivot_g4(stage: Stage) -> None:
    played = await stage.play(VoyageSaga, Embarked(voyage="v", plan="compensable-behind-pivot"))
    assert played.status == "failed"
    assert "nothing compensable" in played.reason
