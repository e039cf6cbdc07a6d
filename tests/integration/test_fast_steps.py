"""Fast steps: what a killed worker had done stands once, and the setting may change while sagas are open (G3, G4, D7)."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from sagakit.steps import SagaResult
from tests.support.processes import end

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _worker(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "tests.support.dying_worker", *words], cwd=ROOT)
    try:
        yield process
    finally:
        end(process, signal.SIGKILL)


def _rows(folder: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(folder / "parts.db") as connection:
        return connection.execute(query).fetchall()


async def _kinds(handle: WorkflowHandle) -> dict[str, int]:
    """Count in the history what was recorded of local and of ordinary activities."""
    events = (await handle.fetch_history()).events
    return {
        "fast": sum(event.HasField("marker_recorded_event_attributes") for event in events),
        "ordinary": sum(event.HasField("activity_task_scheduled_event_attributes") for event in events),
    }


@pytest.mark.parametrize("setting", ["fast", "ordinary"])
async def test_what_fast_steps_of_a_killed_worker_did_stands_once_whatever_the_setting_is_then_g3_d7(
    client: Client, temporal_address: str, tmp_path: Path, setting: str
) -> None:
    """Killed with two effects committed and none recorded in its history; the next worker finds them done by their keys."""
    run = uuid.uuid4().hex[:12]
    with _worker(temporal_address, str(tmp_path), "fast", run, "two") as process:
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    done = [(f"part-{run}-one",), (f"part-{run}-two",)]
    assert _rows(tmp_path, "select stream from events order by position") == done
    handle = client.get_workflow_handle(f"faulty-saga/{run}", result_type=SagaResult)
    assert await _kinds(handle) == {"fast": 0, "ordinary": 0}
    with _worker(temporal_address, str(tmp_path), setting):
        result = await asyncio.wait_for(handle.result(), 60)
    assert result.status == "completed"
    done += [(f"part-{run}-pivot",), (f"part-{run}-after",)]
    assert _rows(tmp_path, "select stream from events order by position") == done
    fences = [(f"faulty-saga/{run}/{step}/0", "done") for step in range(1, 5)]
    assert _rows(tmp_path, "select key, json_extract(outcome, '$.status') from commands order by key") == fences
    assert await _kinds(handle) == ({"fast": 4, "ordinary": 0} if setting == "fast" else {"fast": 4, "ordinary": 4})
