"""A saga is seen in Temporal's UI as it stands, and being seen costs it nothing per step."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle

from sagakit.repository import Context
from sagakit.system import System
from sagakit.temporal.stage import rehearsing
from tests.support.long_voyage import LONG_VOYAGES, PatientVoyage
from tests.support.running import running
from tests.support.sailing import sailing
from tests.support.voyage import LEGS, VOYAGES, Embark, Tell
from tests.support.waiting import until


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running([VOYAGES, LEGS], tmp_path, client=client, stream_url="http://127.0.0.1:8080/{service}/{stream}") as system:
        yield system


async def _details(handle: WorkflowHandle[Any, Any]) -> str:
    """The details, by the query that Temporal's UI asks."""
    answer = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return answer.current_details


async def test_the_details_of_a_saga_name_its_steps_what_they_touch_and_what_it_waits_for(system: System, client: Client) -> None:
    voyage = f"{uuid.uuid4().hex[:8]} | [a](b)"
    assert (await system.send(Embark(voyage=voyage, plan="together news"), Context())).status == "done"
    handle = client.get_workflow_handle(f"voyage-saga/{voyage}")

    async def waits() -> bool:
        try:
            return "Waits for" in await _details(handle)
        except Exception:  # noqa: BLE001 it has not begun
            return False

    await until(waits, "the saga to wait")
    lines = (await _details(handle)).splitlines()
    assert lines[0] == "**voyage-saga**: running"
    assert lines[2].startswith("Waits for voyage.told until ")
    rows = [line.split(" | ") for line in lines if line.startswith(("| 1", "| 2", "| 3"))]
    encoded = voyage.replace(" ", "%20").replace("|", "%7C").replace("[", "%5B").replace("]", "%5D")
    encoded = encoded.replace("(", "%28").replace(")", "%29")
    written = voyage.replace("|", r"\|").replace("[", r"\[").replace("]", r"\]")
    assert [row[2] for row in rows] == [
        f"[leg-{written}-{leg}](http://127.0.0.1:8080/legs/leg-{encoded}-{leg})" for leg in ("a", "b", "c")
    ]
    assert [row[3:7] for row in rows] == [
        ["1", "compensable", "done", "1"],
        ["1", "compensable, side by side 1", "done", "1"],
        ["1", "compensable, side by side 1", "done", "1"],
    ]
    assert lines[-1] == "To see a trace: `trace ID`."

    assert (await system.send(Tell(voyage=voyage, news="fair"), Context())).status == "done"
    assert (await handle.result())["status"] == "completed"
    ended = await _details(handle)
    assert ended.startswith("**voyage-saga**: completed\n\n| # ")
    assert "| 4 | `book` |" in ended


def _upserts(histories: list[Any]) -> int:
    """Count the changes of search attributes in some histories."""
    events = [event for history in histories for event in history.events]
    return sum(event.HasField("upsert_workflow_search_attributes_event_attributes") for event in events)


@pytest.mark.parametrize(("plan", "changes"), [("legs:2", 1), ("legs:40", 1), ("legs:3 ask:x legs:20", 3)])
async def test_search_attributes_change_with_the_status_and_with_no_step(temporal_binary: Path, plan: str, changes: int) -> None:
    async with (
        rehearsing([LONG_VOYAGES, LEGS], temporal_binary, is_prompt=True) as stage,
        sailing(stage, [LONG_VOYAGES, LEGS], PatientVoyage, plan) as voyage,
    ):
        if "ask" in plan:
            await voyage.comes_to("asking")
            await voyage.answer("sail")
        assert (await voyage.handle.result()).status == "completed"
        assert _upserts(await voyage.runs()) == changes
