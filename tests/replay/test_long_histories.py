"""What a saga of an earlier release handed over to its next run is read by today's code, which takes the same way (G7, D9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate
from tests.replay.record_long import HISTORIES
from tests.support.long_voyage import LONG_VOYAGES
from tests.support.voyage import LEGS

RECORDED = sorted(HISTORIES.glob("*.json"))


def test_several_runs_are_recorded_d9() -> None:
    assert len(RECORDED) >= 4, "run: python -m tests.replay.record_long"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_run_takes_the_way_it_took_g7(path: Path) -> None:
    history = WorkflowHistory.from_json(path.stem, path.read_text())
    assert (await Gate(ServiceMap([LONG_VOYAGES, LEGS])).replay(history, is_open=True)).why == ""
