"""^C leaves no stack trace and no process behind, wherever it comes (G9)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.acceptance.worker import ROOT, System
from tests.support.processes import end_with_parent, wait_until


@contextmanager
def _program(system: System, *args: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run a command; yields it and what it has written so far."""
    system.folder.mkdir(parents=True, exist_ok=True)
    log = system.folder / "interrupted.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *args],
            env=system.env, cwd=ROOT, stdout=output, stderr=output, preexec_fn=end_with_parent,
        )  # fmt: skip
    try:
        yield process, log.read_text
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _started_by(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _interrupt(process: subprocess.Popen[bytes], written: Callable[[], str]) -> int:
    children = _started_by(process)
    os.kill(process.pid, signal.SIGINT)
    code = process.wait(25)
    assert "Traceback" not in written(), written()
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    return code


def _placed(system: System) -> bool:
    return (system.folder / "orders.db").exists() and bool(system.json("query", "order_summary"))


def test_in_the_middle_of_a_demo(embedded: System) -> None:
    with _program(embedded, "demo") as (process, written):
        wait_until(lambda: process.poll() is not None or _placed(embedded), 60, "the first orders")
        assert process.poll() is None, written()
        assert _started_by(process), "the Temporal server is a child of the demo"
        assert _interrupt(process, written) == 1
        assert "start again, and" in written()


def test_in_a_demo_that_was_kept(embedded: System, tmp_path: Path) -> None:
    small = tmp_path / "small.csv"
    small.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "1,a,tea,1,01/12/2010 08:26,2.50,c,France\n"
    )
    with _program(embedded, "demo", "--keep", "--input", str(small)) as (process, written):
        wait_until(lambda: process.poll() is not None or "Left running" in written(), 60, "the demo to be done")
        assert process.poll() is None, written()
        assert _interrupt(process, written) == 0


@pytest.mark.parametrize("parts", ["embedded", "real"])
def test_while_services_run(parts: str, request: pytest.FixtureRequest) -> None:
    system: System = request.getfixturevalue(parts)
    with _program(system, "start") as (process, written):
        wait_until(lambda: process.poll() is not None or "Running" in written(), 60, "start")
        assert process.poll() is None, written()
        assert _interrupt(process, written) == 0
        assert "Drained." in written()


def test_while_it_starts(embedded: System) -> None:
    """The Temporal server is being started: nothing of it is left behind."""
    with _program(embedded, "start") as (process, written):
        wait_until(lambda: process.poll() is not None or _started_by(process), 60, "the Temporal server to be started")
        assert process.poll() is None, written()
        assert _interrupt(process, written) == 0
