"""Runs one command in this process. Logging stays as it is: the command's stderr is closed when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

from typer.testing import CliRunner

from sagakit.cli.main import build
from sagakit.cli.output import stdout
from sagakit.service import ServiceMap


def _wide() -> CliRunner:
    """Take a terminal on which no word of a table is folded, however wide the one is that the tests were started from."""
    stdout.width = 200
    return CliRunner()


def run_command(services: ServiceMap, *args: str) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    with patch("sagakit.cli.main.configure_logging"):
        done = _wide().invoke(build(services.listed), list(args))
    return done.exit_code, done.output


@dataclass(frozen=True)
class Said:
    """What one command answered."""

    code: int
    stdout: str
    stderr: str

    def refusal(self) -> str:
        """Return the one line that a refused command says; fail where it says more, or says it elsewhere."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert (self.code not in (0, None), self.stdout, len(lines)) == (True, "", 1), self
        assert "Traceback" not in self.stderr
        return lines[0]


def ask(services: ServiceMap, *args: str) -> Said:
    """Return the exit code, and each stream by itself."""
    with patch("sagakit.cli.main.configure_logging"):
        done = _wide().invoke(build(services.listed), list(args))
    return Said(done.exit_code, done.stdout, done.stderr)
