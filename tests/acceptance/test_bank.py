"""`demo bank`: no penny is made or lost, whatever is killed; and what is asked for wrongly ends in one sentence (G4, D7, D14)."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from tests.acceptance.worker import System
from worker.__main__ import cli


@pytest.mark.timeout(180)
def test_money_stays_equal_while_worker_relay_and_temporal_are_killed(embedded: System) -> None:
    path = embedded.folder / "bank.json"
    embedded.folder.mkdir()
    arguments = ("--accounts", "20", "--transfers", "100", "--chaos", "--kills-every", "1.5", "2", "--kills", "3", "--seed", "7")
    done = embedded.run("demo", "bank", *arguments, "--summary-file", str(path))
    found = json.loads(path.read_text())
    assert sum(found["kills"].values()) == 3
    assert set(found["kills"]) == {"temporal", "worker and relay"}
    assert found["completed"] + found["compensated"] + found["parked"] == found["transfers"] == 100
    assert found["completed"] > 5
    assert found["compensated"] > 5
    assert found["parked"] == found["parked_then_decided"] == 2, "their refund is refused until an operator opens the account"
    assert (found["stuck"], found["double_effects"], found["invariant_breaks"], found["in_transit_pence"]) == (0, 0, 0, 0)
    assert found["at_rest_pence"] == found["brought_in_pence"]
    assert found["samples_while_running"] + found["samples_of_random_cuts"] >= 200
    assert found["samples_with_money_in_transit"] > 0
    assert found["samples_moved_back_to_be_consistent"] > 0, "the logs were never cut where it matters"
    assert all(found["invariants"].values())
    assert "parked: transfer" in done.stderr
    decided = embedded.run("--app", "worker.services:BANK", "events", "--service", "transfers", "--json").stdout
    assert decided.count('"operator of demo bank"') >= 2, "who decided, and why, is in the log"


def _told(*arguments: str) -> str:
    """Run it in this process; what it is asked for is wrong."""
    with patch("sagakit.cli.main.configure_logging"):
        done = CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--accounts", "1"], "Invalid value for '--accounts': Input should be greater than or equal to 2"),
        (["--transfers", "0"], "Invalid value for '--transfers': Input should be greater than or equal to 1"),
        (["--transfers", "many"], "Invalid value for '--transfers': Input should be a valid integer"),
        (
            ["--chaos", "--kills-every", "30", "5"],
            "--kills-every 30 5: expected two numbers of seconds above 0, the smaller one first",
        ),
        (
            ["--chaos", "--kills-every", "nan", "5"],
            "--kills-every nan 5: expected two numbers of seconds above 0, the smaller one first",
        ),
        (["--kills", "3"], "--kills and --kills-every say how --chaos goes: add --chaos, or leave them out"),
        (["--summary-file", "/nowhere/at/all.json"], "--summary-file /nowhere/at/all.json cannot be written"),
    ],
)
def test_a_wrong_argument_ends_in_one_clear_error(tmp_path: Path, arguments: list[str], told: str) -> None:
    assert told in _told("--data", str(tmp_path / "data"), "demo", "bank", *arguments)
    assert not (tmp_path / "data").exists(), "nothing was begun"


def test_a_folder_that_another_process_runs_on_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "process.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = _told("--data", str(tmp_path), "demo", "bank", "--transfers", "10")
    assert "another process runs on the data folder" in told
