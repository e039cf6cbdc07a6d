"""Runs the Node scripts beside it; what they need is installed once into the user's cache, by the content of the lock file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import find_program
from tests.support.servers import ServiceMissing

_SCRIPTS = Path(__file__).parent / "node"
_MANIFESTS = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Node:
    """Node with the packages of `tests/support/node/package-lock.json`."""

    program: Path
    modules: Path

    def start(self, script: str, *args: str) -> subprocess.Popen[str]:
        """Start a script of `tests/support/node`; its standard input and output are pipes of text."""
        return subprocess.Popen(
            [str(self.program), str(_SCRIPTS / script), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_PATH": str(self.modules)},
        )

    def run(self, script: str, *args: str, lines: str = "", seconds: float = 60) -> list[str]:
        """Run a script to its end with these lines as its input; returns the lines it printed, fails with what it said."""
        with self.start(script, *args) as process:
            try:
                out, err = process.communicate(lines, seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, err
        return out.splitlines()


def installed() -> Node:
    """Find Node and install the packages, once for each lock file. Raises `ServiceMissing`."""
    node, npm = find_program("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ServiceMissing("no Node with npm: run scripts/test.sh")
    digest = hashlib.sha256(b"".join((_SCRIPTS / name).read_bytes() for name in _MANIFESTS)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sagakit"
    folder = cache / f"node-{digest}"
    if not folder.exists():
        _install(npm, cache, folder)
    return Node(node, folder / "node_modules")


def _install(npm: str, cache: Path, folder: Path) -> None:
    """Install beside the folder and rename, so that it is whole whenever it is there."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="node-new-") as new:
        for name in _MANIFESTS:
            shutil.copy(_SCRIPTS / name, new)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode != 0:
            raise ServiceMissing(f"npm could not install the packages of {_SCRIPTS.name}/package-lock.json: {done.stderr[-500:]}")
        whole = Path(new) / "whole"
        whole.mkdir()
        (Path(new) / "node_modules").rename(whole / "node_modules")
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # else another run was first
                raise
