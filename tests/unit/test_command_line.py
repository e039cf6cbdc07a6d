"""Wrong words on the command line: one sentence on stderr with the way to the help, exit code 2, nothing on stdout."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from sagakit.cli.main import build
from tests.support.voyage import LEGS, VOYAGES


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sail", "No such command 'sail'; see sagakit --help"),
        ("--sail", "No such option: --sail; see sagakit --help"),
        ("sagas show", "Missing argument 'workflow_id'; see sagakit sagas show --help"),
        ("sagas retry v kim", "Got unexpected extra argument(s) (kim); see sagakit sagas retry --help"),
        ("sagas retry v --step two", "Invalid value for '--step': Input should be a valid integer"),
        ("sagas retry v --reason", "Option '--reason' requires an argument"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(words: str, says: str) -> None:
    with patch("sagakit.cli.main.configure_logging"):
        done = CliRunner().invoke(build([VOYAGES, LEGS]), words.split(), prog_name="sagakit")
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {says}")


def test_no_words_are_answered_with_the_help() -> None:
    done = CliRunner().invoke(build([VOYAGES, LEGS]), [], prog_name="sagakit")
    assert done.exit_code == 2
    assert "Usage: sagakit" in done.stdout
