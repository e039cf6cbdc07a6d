"""Installs the peer library into an environment of its own and speaks with it; it never shares our process."""

from __future__ import annotations

import asyncio
import filecmp
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.databases import Database

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / ".venv-bench"
LOCK = HERE / "requirements-peers.lock"


def install() -> None:
    """Make the peers' environment from its lock file, unless it is there already."""
    stamp = ENVIRONMENT / LOCK.name
    if stamp.exists() and filecmp.cmp(LOCK, stamp, shallow=False):
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)  # noqa: S603 our own arguments
    pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)], check=True)  # noqa: S603 the same
    shutil.copy(LOCK, stamp)


@dataclass(frozen=True)
class Peer:
    """The running peer."""

    _process: asyncio.subprocess.Process
    found: dict[str, Any]

    @classmethod
    @asynccontextmanager
    async def on_postgres(cls, database: Database, threads: int = 1) -> AsyncIterator[Self]:
        """Start it on a PostgreSQL database, with a pooled connection for each thread."""
        url = urlsplit(database.url)
        env = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": url.path.removeprefix("/"),
            "POSTGRES_HOST": str(url.hostname),
            "POSTGRES_PORT": str(url.port),
            "POSTGRES_USER": str(url.username),
            "POSTGRES_PASSWORD": url.password or "none",
            "POSTGRES_POOL_SIZE": str(max(threads, 5)),
        }
        async with cls.started("eventsourcing_peer.py", env=env, threads=threads) as peer:
            yield peer

    @classmethod
    @asynccontextmanager
    async def on_sqlite(cls, path: Path, threads: int = 1) -> AsyncIterator[Self]:
        """Start it on a SQLite file. Raises `AssertionError` unless it is as durable as ours."""
        env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
        async with cls.started("eventsourcing_peer.py", env=env, threads=threads) as peer:
            if (peer.found["journal_mode"], peer.found["synchronous"]) != ("wal", 2):
                raise AssertionError(f"the peer's SQLite is not in WAL with synchronous FULL: {peer.found}")
            yield peer

    @classmethod
    @asynccontextmanager
    async def started(cls, program: str, **job: Any) -> AsyncIterator[Self]:
        """Start a program of `benchmarks/peers/`; its job ``open`` gets the arguments."""
        async with cls.begun(str(ENVIRONMENT / "bin/python"), (str(HERE / "peers" / program),), **job) as peer:
            yield peer

    @classmethod
    @asynccontextmanager
    async def begun(cls, python: str, words: Sequence[str], **job: Any) -> AsyncIterator[Self]:
        """Start a program by any Python; its job ``open`` gets the arguments."""
        process = await asyncio.create_subprocess_exec(
            python, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=HERE.parent
        )
        try:
            yield cls(process, await _ask(process, "open", **job))
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def ask(self, do: str, **job: Any) -> dict[str, Any]:
        """Have it do one job; its answer holds the ``seconds`` it took."""
        return await _ask(self._process, do, **job)


async def _ask(process: asyncio.subprocess.Process, do: str, **job: Any) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the peer was started without pipes")
    process.stdin.write(json.dumps({"do": do, **job}).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        raise AssertionError(f"the peer ended at {do!r}; its error stands above")
    answer: dict[str, Any] = json.loads(line)
    return answer
