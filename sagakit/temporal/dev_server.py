"""Finds, builds if need be, and runs the Temporal dev server with its UI and a database file.

Looked for in this order: the setting, ``temporal`` on the PATH when new enough, the cache folder, the SDK's own download,
a build of the Go module in ``compose/temporal``. The build takes minutes once per machine; its result is cached by version and
source.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from sagakit.errors import TemporalUnavailable
from sagakit.temporal.free_port import free_port

SERVER_VERSION = "1.32.0"
_DOWNLOAD = "v1.9.1"  # the official command line that holds the same server
_OLDEST_CLI = (1, 6, 0)
# In the repository, or where the wheel puts the same files.
_MODULE = next(
    (p for p in (Path(__file__).resolve().parents[2] / "compose" / "temporal", Path(__file__).parent / "go") if p.exists()),
    Path(__file__).parent / "go",
)
_SOURCES = (".go", ".mod", ".sum")
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")
_ATTRIBUTES = ("SagaStatus=Keyword", "CorrelationId=Keyword")
_SET_PARENT_DEATH_SIGNAL = 1
_STARTS = 5
# One partition a queue: four, the default, only forward tasks to each other on a single small server.
_DYNAMIC = ("matching.numTaskqueueReadPartitions=1", "matching.numTaskqueueWritePartitions=1")
Progress = Callable[[str], None]


def cache_folder() -> Path:
    """Return the folder of built servers, one file a version of the server and of our source."""
    return Path.home() / ".cache" / "sagakit" / "temporal"


def built_binary() -> Path:
    """Return where a server built from today's source is kept: an older one is not taken for it."""
    digest = hashlib.sha256()
    for file in sorted(file for file in _MODULE.glob("*") if file.suffix in _SOURCES):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache_folder() / f"temporal-dev-{SERVER_VERSION}-{digest.hexdigest()[:12]}"


async def find_binary(setting: Path | None, progress: Progress) -> Path:
    """Find or make the server's binary. Raises `TemporalUnavailable` with everything that was tried."""
    if setting is not None:
        if not os.access(setting, os.X_OK):
            raise TemporalUnavailable(f"SAGAKIT_TEMPORAL_BINARY={setting} is no program that can be run")
        return setting
    on_path = shutil.which("temporal")
    if on_path is not None and _version_of(on_path) >= _OLDEST_CLI:
        return Path(on_path)
    cached = built_binary()
    if os.access(cached, os.X_OK):
        return cached
    if (go := _go()) is not None and (_MODULE / "go.mod").exists() and not await _can_download():
        await asyncio.to_thread(_build, go, cached, progress)
        return cached
    progress("Downloading the Temporal dev server, once per machine ...")
    downloaded = await _download()
    if downloaded is not None:
        return downloaded
    if go is not None and (_MODULE / "go.mod").exists():
        await asyncio.to_thread(_build, go, cached, progress)
        return cached
    raise TemporalUnavailable(
        "no Temporal server: none is set (TEMPORAL_ADDRESS, SAGAKIT_TEMPORAL_BINARY), none is on the PATH, the download failed "
        "and there is no Go to build one. Install the Temporal CLI or Go, or name a running server in TEMPORAL_ADDRESS"
    )


def _version_of(binary: str) -> tuple[int, ...]:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603 found on PATH
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", answer)
    return tuple(int(part) for part in match.groups()) if match else ()


def _go() -> str | None:
    usual = Path("/usr/local/go/bin/go")
    return shutil.which("go") or (str(usual) if usual.exists() else None)


async def _can_download() -> bool:
    try:
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("temporal.download", 443), 3)
    except (OSError, TimeoutError):
        return False
    return True


async def _download() -> Path | None:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        environment = await WorkflowEnvironment.start_local(dev_server_download_version=_DOWNLOAD, download_dest_dir=str(folder))
        await environment.shutdown()
    except RuntimeError:
        return None
    found = sorted(folder.glob("temporal-cli-*"))
    return found[-1] if found else None


def _build(go: str, target: Path, progress: Progress) -> None:
    progress("Building the Temporal dev server with Go, once per machine; this takes some minutes ...")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(partial), "."]
    built = subprocess.run(command, cwd=_MODULE, capture_output=True, text=True, check=False)  # noqa: S603 our own words
    if built.returncode != 0:
        last = (built.stderr.strip().splitlines() or ["no output"])[-1]
        raise TemporalUnavailable(f"the Temporal dev server could not be built in {_MODULE}: {last}")
    partial.replace(target)
    progress("The Temporal dev server is built.")


@dataclass
class DevServer:
    """A running dev server, ours to end."""

    address: str
    ui: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it and wait until it is gone."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


async def start(binary: Path, folder: Path, port: int, ui_port: int, dynamic: Sequence[str] = ()) -> DevServer:
    """Start a server on loopback with its state in ``folder``. Raises `TemporalUnavailable` when it does not answer.

    ``dynamic`` are further values of its dynamic configuration, each as ``key=JSON``. A free port can be taken between the look
    and the use, so a start on free ports is tried again on others.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 once, at start
    for _ in range(_STARTS):
        server = await _start_once(binary, folder, port or free_port(), ui_port or free_port(), (*_DYNAMIC, *dynamic))
        if server is not None:
            return server
    raise TemporalUnavailable(f"the Temporal dev server did not start; {folder / 'temporal.log'} says why")


async def _start_once(binary: Path, folder: Path, port: int, ui_port: int, dynamic: Sequence[str]) -> DevServer | None:
    command = [str(binary), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui_port)]
    command += ["--db-filename", str(folder / "temporal.db"), "--log-level", "error"]
    command += [word for pragma in _PRAGMAS for word in ("--sqlite-pragma", pragma)]
    command += [word for attribute in _ATTRIBUTES for word in ("--search-attribute", attribute)]
    command += [word for value in dynamic for word in ("--dynamic-config-value", value)]
    with (folder / "temporal.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 our own words; starting is quick
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=end_with_parent,  # noqa: PLW1509 one system call, nothing that a thread could hold
            start_new_session=True,
        )
    server = DevServer(f"127.0.0.1:{port}", f"http://127.0.0.1:{ui_port}", process)
    waiting = {port, ui_port}
    for _ in range(300):
        if process.poll() is not None:
            return None
        waiting = {number for number in waiting if not await _answers(number)}
        if not waiting and process.poll() is None:
            return server
        await asyncio.sleep(0.1)
    server.stop()
    return None


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def end_with_parent() -> None:
    """Ask Linux to end the server with this process, at once: a kill -9 leaves nothing running, and nothing half alive."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
