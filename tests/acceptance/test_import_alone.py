"""`import` where no `start` runs: it says what it waits for, and ^C ends it in one sentence."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.acceptance.worker import ROOT, System
from tests.support.processes import end_with_parent, wait_until


def test_an_import_alone_says_so_and_ends_at_once(tmp_path: Path, temporal_address: str) -> None:
    system = System(tmp_path / "data", {"TEMPORAL_ADDRESS": temporal_address})
    file, log = tmp_path / "orders.csv", tmp_path / "log"
    file.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "1,A,thing,2,01/12/2010 08:26,2.50,7,France\n"
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "import", str(file)],
            env=system.env, cwd=ROOT, stdout=output, stderr=output, preexec_fn=end_with_parent,
        )  # fmt: skip
        wait_until(lambda: "waiting for outcomes, still open: 1 (1)" in log.read_text(), 60, "the import to say so")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
    said = log.read_text()
    assert "Is `start` running" in said
    assert "error: stopped while sagas are open; start again, and they go on where they stopped" in said
    assert "Traceback" not in said
    assert said.count("Nothing has moved") == 1
