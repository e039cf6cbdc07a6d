"""Sagas of this release and of earlier ones replay with today's code, each way they can take (G7)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate
from tests.replay.record import FAST_WAYS, HISTORIES, WAYS, shortened
from tests.replay.record_long import HISTORIES as LONG
from worker.services import BANK, RENEWALS, SERVICES, TRIPS

RECORDED = sorted(HISTORIES.glob("*.json"))


def test_every_way_is_recorded_g7() -> None:
    assert {path.stem for path in RECORDED} >= {*WAYS, *FAST_WAYS}, "run: make record-histories"


@pytest.mark.parametrize("path", [*RECORDED, *LONG.glob("*.json")], ids=lambda path: path.stem)
def test_no_history_names_the_machine_that_recorded_it(path: Path) -> None:
    history = json.loads(path.read_text())
    assert shortened(history) == history


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("fast", [False, True], ids=["ordinary", "fast"])
async def test_a_recorded_saga_takes_the_way_it_took_whatever_the_setting_is_now_g7(path: Path, *, fast: bool) -> None:
    """Where it may try fast steps, it was told at its start."""
    services = ServiceMap([replace(service, fast_steps=fast) for service in (*SERVICES, *BANK, *RENEWALS, *TRIPS)])
    replayed = await Gate(services).replay(WorkflowHistory.from_json(path.stem, path.read_text()), is_open=True)
    assert replayed.why == ""
