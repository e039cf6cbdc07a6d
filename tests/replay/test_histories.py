"""Sagas of this release and of earlier ones replay with today's code, each way they can take (G7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate
from tests.replay.record import HISTORIES, WAYS
from worker.services import BANK, SERVICES

RECORDED = sorted(HISTORIES.glob("*.json"))


def test_every_way_is_recorded_g7() -> None:
    assert {path.stem for path in RECORDED} >= WAYS.keys(), "run: make record-histories"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_saga_takes_the_way_it_took_g7(path: Path) -> None:
    replayed = await Gate(ServiceMap((*SERVICES, *BANK))).replay(
        WorkflowHistory.from_json(path.stem, path.read_text()), is_open=True
    )
    assert replayed.why == ""
