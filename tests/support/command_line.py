"""Runs one command in this process. Logging stays as it is: the command's stderr is closed when it ends."""

from __future__ import annotations

from unittest.mock import patch

from typer.testing import CliRunner

from sagakit.cli.main import build
from sagakit.service import ServiceMap


def run_command(services: ServiceMap, *args: str) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    with patch("sagakit.cli.main.configure_logging"):
        done = CliRunner().invoke(build(services.listed), list(args))
    return done.exit_code, done.output
