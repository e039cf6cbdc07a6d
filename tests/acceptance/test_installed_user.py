"""Somebody installs the wheel into an empty environment and follows the tutorial to the letter."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import end, end_with_parent, wait_until

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", TUTORIAL, re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment with the wheel and its locked dependencies, and nothing of this repository."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    pip = [str(tmp_path / "env/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], check=True)
    (wheel,) = (tmp_path / "dist").glob("sagakit-*.whl")
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return tmp_path / "env"


@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md"])
def test_what_is_said_about_installing_is_what_the_fixture_does(document: str) -> None:
    """The package is in no registry, so nobody is told to install it from one."""
    text = (ROOT / document).read_text()
    assert "python -m build --wheel" in text
    assert "pip install dist/sagakit-*.whl" in text
    assert "pip install sagakit" not in text


@pytest.mark.timeout(600)
def test_the_tutorial_works_as_written(environment: Path, tmp_path: Path, temporal_binary: Path) -> None:
    home = tmp_path / "bank"
    for kind, text in BLOCKS:
        if kind == "python":
            path = home / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    env = {
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "120",
        "SAGAKIT_TEMPORAL_BINARY": str(temporal_binary),
    }
    log = home / "start.log"
    lines = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines() if not line.startswith("$ pip")]
    assert lines[0].endswith("start")
    with log.open("wb") as output:
        worker = subprocess.Popen(
            shlex.split(lines[0].removeprefix("$ ")), cwd=home, env=env, stdout=output, stderr=output, preexec_fn=end_with_parent
        )
    try:
        wait_until(lambda: worker.poll() is not None or b"Running" in log.read_bytes(), 60, "start")
        commands: list[tuple[str, list[str]]] = []
        for line in lines[1:]:
            if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line)
        for command, expected in commands:
            wait_until(
                lambda command=command, expected=expected: _says(command, expected, home, env), 40, f"{command} to say {expected}"
            )
    finally:
        assert end(worker) == 0, log.read_text()


def _says(command: str, expected: list[str], home: Path, env: dict[str, str]) -> bool:
    done = subprocess.run(shlex.split(command), cwd=home, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    is_said = all(line in done.stdout for line in expected)
    assert is_said or " send " not in command, f"a command is sent once, so its first answer counts: {done.stdout}{done.stderr}"
    return is_said
