"""A worker that dies or is told to stop in the middle of an import: every document has one outcome, nothing happens twice (G1, G3, G4, G9)."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from sagakit.log import read_to_head
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.sql.tables import InboxRow
from sagakit.system import System as Databases
from tests.acceptance.worker import System, same_but_seconds
from tests.support.processes import end, wait_until
from worker.sample import SAMPLE
from worker.services import SERVICES

OPTIONS = ("--stock-per-product", "1000000", "--decline-over", "350")
OPEN_AT_LEAST = 20
LAST = {"order.completed", "order.cancelled", "return.closed"}  # what a saga does at its very end


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, temporal_binary: Path) -> dict[str, Any]:
    """The summary of the same import when nothing goes wrong: with plenty of stock it is the only right one."""
    system = System(tmp_path_factory.mktemp("undisturbed"), {"SAGAKIT_TEMPORAL_BINARY": str(temporal_binary)})
    return system.summary("demo", *OPTIONS)


def _interrupt(system: System, number: int) -> int:
    """Import, stop the worker with a signal while many sagas are open; return its exit code."""
    worker = system.start()
    importing = system.import_in_background(SAMPLE, *OPTIONS)
    try:
        # Some may end between the look and the signal.
        wait_until(lambda: _open_sagas(system) >= OPEN_AT_LEAST + 10, 60, f"{OPEN_AT_LEAST + 10} open sagas")
        began = time.monotonic()
        code = end(worker, number, seconds=25)
        assert time.monotonic() - began < 20
        left = _open_sagas(system)
        print(f"{left} sagas were open at the end of the worker")
        assert left >= OPEN_AT_LEAST, "the worker was quicker than the signal: the test shows nothing"
        return code
    finally:
        end(importing, signal.SIGKILL)


def _open_sagas(system: System) -> int:
    """Count the sagas that were started, and whose last command has not been handled: also when no server runs any more."""
    return asyncio.run(_count_open_sagas(system))


async def _count_open_sagas(system: System) -> int:
    settings = load_settings(data=system.folder, database=system.settings.get("SAGAKIT_DATABASE", "sqlite"))
    async with Databases(settings, ServiceMap(SERVICES)) as databases, databases.look("orders") as orders:
        if orders is None:
            return 0
        async with orders.tables.transaction() as session:
            # The consumer notes an event as handled once Temporal has the saga.
            inbox = select(InboxRow.stream).where(col(InboxRow.consumer).startswith("orders.saga."))
            started = set((await session.exec(inbox)).all())
        ended = {event.stream async for event in read_to_head(orders.store) if event.type in LAST}
    return len(started - ended)


def _finish(system: System) -> dict[str, Any]:
    worker = system.start()
    try:
        return system.summary("import", str(SAMPLE), *OPTIONS)
    finally:
        assert end(worker) == 0


def _check(summary: dict[str, Any], undisturbed: dict[str, Any]) -> None:
    assert summary["duplicates"] > 0, "no document was known before: the worker was not stopped in the middle"
    expected = same_but_seconds(undisturbed) | {"duplicates": summary["duplicates"]}
    assert same_but_seconds(summary) == expected


@pytest.mark.timeout(400)
@pytest.mark.parametrize("round_", [1, 2, 3])
def test_kill_9_embedded(embedded: System, undisturbed: dict[str, Any], round_: int) -> None:
    assert _interrupt(embedded, signal.SIGKILL) == -signal.SIGKILL
    _check(_finish(embedded), undisturbed)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("round_", [1, 2, 3])
def test_kill_9_on_real_parts(real: System, undisturbed: dict[str, Any], round_: int) -> None:
    assert _interrupt(real, signal.SIGKILL) == -signal.SIGKILL
    _check(_finish(real), undisturbed)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("parts", ["embedded", "real"])
def test_sigterm_drains(parts: str, request: pytest.FixtureRequest, undisturbed: dict[str, Any]) -> None:
    system: System = request.getfixturevalue(parts)
    assert _interrupt(system, signal.SIGTERM) == 0
    _check(_finish(system), undisturbed)
