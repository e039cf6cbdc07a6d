"""Drives `python -m worker` as a user does: a subprocess, its output, its signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import end_with_parent, wait_until

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class System:
    """Where a system under test keeps its data, and which servers it uses."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAGAKIT_", "TEMPORAL_", "OTEL_"))}
        return kept | {"SAGAKIT_DATA": str(self.folder), "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | self.settings

    def run(self, *args: str, code: int | None = 0, seconds: float = 150) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *args],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if code is not None and done.returncode != code:
            raise AssertionError(f"{args} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def start(self, *args: str, ready: bool = True) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{'-'.join(args).replace('--', '') or 'all'}.log"
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", "start", *args],
                env=self.env, cwd=ROOT, stdout=output, stderr=output, preexec_fn=end_with_parent,
            )  # fmt: skip
        if ready:
            wait_until(
                lambda: process.poll() is not None or b"Running" in log.read_bytes()[begin:], 60, f"start {' '.join(args)}"
            )
            assert process.poll() is None, log.read_text()[begin:]
        return process

    def import_in_background(self, file: Path, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "worker", "import", str(file), *args],
            env=self.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=end_with_parent,
        )  # fmt: skip

    def summary(self, *args: str, seconds: float = 150) -> dict[str, Any]:
        path = self.folder / "summary.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run(*args, "--summary-file", str(path), seconds=seconds)
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def same_but_seconds(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name != "seconds"}
