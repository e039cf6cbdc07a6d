"""Starts programs for tests and ends them, by pid, whatever happens."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def find_program(name: str, *patterns: str) -> Path | None:
    """Find a program on the PATH, else by patterns like /usr/lib/postgresql/*/bin/initdb (the newest first)."""
    if found := shutil.which(name):
        return Path(found).resolve()
    for pattern in patterns:
        found_paths = sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
        if found_paths:
            return found_paths[0]
    return None


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait on a condition; fail with what was awaited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def spawn(command: list[str], log: Path, env: dict[str, str] | None = None, user: str | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=env,
            user=user,
            cwd=log.parent,
            start_new_session=True,
            preexec_fn=end_with_parent if user is None else None,
        )


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, seconds: float = 20) -> int:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    return process.returncode
