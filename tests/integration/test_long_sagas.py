"""Sagas that live long go on in new runs, and nobody sees it: not their author, not who steers them (G3, G4, D9 to D13)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from sagakit.temporal.rehearsal import Played, Stage, rehearsing
from tests.support.long_voyage import LONG_VOYAGES, LongVoyage, ManySeasons
from tests.support.voyage import LEGS, Embarked


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing([LONG_VOYAGES, LEGS], temporal_binary, is_prompt=True) as stage:
        yield stage


async def _runs(client: Client, workflow_id: str) -> list[int]:
    """How many events each run has, the newest first."""
    lengths, run_id = [], None
    while True:
        events = (await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()).events
        lengths.append(len(events))
        run_id = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            return lengths


def _effects(played: Played) -> list[tuple[str, str]]:
    return [(call.fields["leg"].partition("-")[2], call.effect) for call in played.calls]


async def test_a_saga_lives_for_ten_years_of_chapters_g4(stage: Stage) -> None:
    played = await stage.play(ManySeasons, Embarked(voyage="v", plan="12"))
    assert played.status == "completed"
    assert len(played.calls) == 24
    assert len(await _runs(stage.client, played.workflow_id)) == 12


async def test_steps_in_earlier_runs_are_undone_in_reverse_d9(stage: Stage) -> None:
    names = [str(n) for n in range(12)]
    plan = " ".join(f"leg:{name}" for name in names) + " side:x,y refused"
    played = await stage.play(LongVoyage, Embarked(voyage="v", plan=plan))
    assert played.status == "compensated", played.reason
    print(_effects(played), await _runs(stage.client, played.workflow_id))
