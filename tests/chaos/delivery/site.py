"""The place where things are killed: servers of its own, worker processes that are started again at once, and callers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, Self

import asyncpg

from sagakit import crash_points
from sagakit.settings import load_settings
from sagakit.system import System
from tests.chaos.delivery.callers import Callers
from tests.chaos.delivery.domain import Started, services
from tests.support import servers, workers
from tests.support.workers import Job

ROLES = {"relay": ("mill",), "consumers": ("ledger", "dispatch"), "projections": ("mill",)}
LEASE_SECONDS = 1.0
# RabbitMQ 3.10.8: a quorum queue that is younger at a kill never elects a leader again.
QUEUE_AGE_SECONDS = 4.0


@dataclass
class Worker:
    """One place for a process: when it ends, the next one takes it."""

    job: Job
    process: BaseProcess | None = None
    hits: int = 0
    ended_alone: int = 0
    nth: Callable[[], int] = field(default=lambda: 1)
    label: str | None = None

    def start(self) -> None:
        die_at = (self.label, self.nth()) if self.label else None
        self.process = workers.start(replace(self.job, die_at=die_at))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def look(self) -> None:
        """Count how it ended, if it did, and start the next one."""
        if self.process is None or self.process.exitcode is None:
            return
        if self.process.exitcode != -signal.SIGKILL:
            self.ended_alone += 1
        elif self.job.file("hit").exists():
            self.hits += 1
        self.start()

    @property
    def owner(self) -> str:
        """How it calls itself in a lease."""
        return f"{socket.gethostname()}/{self.process.pid if self.process else 0}"


@dataclass
class Site:
    """All of it, running."""

    folder: Path
    chance: Random
    postgres: servers.PostgresServer
    rabbitmq: servers.RabbitServer
    settings: dict[str, Any]
    callers: Callers
    workers: dict[str, Worker] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, seed: int, per_second: float) -> AsyncIterator[Self]:
        async with AsyncExitStack() as stack:
            postgres = stack.enter_context(servers.killable_postgres())
            rabbitmq = stack.enter_context(servers.killable_rabbitmq())
            settings = {
                "data": folder, "database": f"{postgres.url}/{{service}}", "bus": rabbitmq.url,
                "lease_seconds": LEASE_SECONDS, "poll_seconds": 0.1, "publish_seconds": 3.0,
            }  # fmt: skip
            system = await stack.enter_async_context(System(load_settings(**settings), services()))
            for service in system.services.services:
                await system.open(service.name)
            site = cls(folder, Random(seed), postgres, rabbitmq, settings, Callers(system, per_second))
            async with site.connected("ledger") as connection:
                assert await connection.fetchval("show fsync") == "on", "without it this shows nothing"
                await connection.execute("create table chaos_started (id text primary key)")
            for role in ROLES:
                site.add(role, role)
            supervising = asyncio.create_task(site._supervise())
            try:
                await site.ready()
                await asyncio.sleep(QUEUE_AGE_SECONDS)
                yield site
            finally:
                await site.callers.pause()
                supervising.cancel()
                await asyncio.gather(supervising, return_exceptions=True)
                for worker in site.workers.values():
                    worker.kill()

    def add(self, name: str, role: str) -> Worker:
        """Start one more process of a role."""
        client = partial(Started, f"{self.postgres.url}/ledger") if role == "consumers" else None
        job = Job(name, services, self.settings, (role,), self.folder, ROLES[role], client=client)
        worker = self.workers[name] = Worker(job)
        worker.start()
        return worker

    def remove(self, name: str) -> None:
        self.workers.pop(name).kill()

    async def ready(self) -> None:
        until = time.monotonic() + 60
        while late := [worker.job for worker in self.workers.values() if not worker.job.file("ready").exists()]:
            if time.monotonic() > until:
                raise AssertionError(f"{late[0].name} does not start: {late[0].file('log').read_text()[-2000:]}")
            await asyncio.sleep(0.02)

    def arm(self, label: str, role: str, farthest: int) -> Worker:
        """Have each process of a role, from now on, die at the label, the n-th time it is reached."""
        worker = self.workers[role]
        worker.label, worker.nth, worker.hits = label, lambda: self.chance.randint(1, farthest), 0
        worker.kill()
        return worker

    def disarm(self, role: str) -> None:
        worker = self.workers[role]
        worker.label = None
        worker.kill()

    async def _supervise(self) -> None:
        looked = time.monotonic()
        while True:
            for worker in list(self.workers.values()):
                worker.look()
            # One that cannot start, since a server is away, is not started again in a tight loop.
            await asyncio.sleep(0.02 if time.monotonic() - looked < 0.1 else 0.1)
            looked = time.monotonic()

    @asynccontextmanager
    async def connected(self, service: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        connection = await asyncpg.connect(f"{self.postgres.url}/{service}", timeout=20)
        try:
            yield connection
        finally:
            await connection.close()

    async def effects(self) -> int:
        """Count the effects at the end of the way, also while servers come and go."""
        while True:
            try:
                async with self.connected("ledger") as connection:
                    return int(await connection.fetchval("select count(*) from chaos_ledger"))
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.1)

    async def moves_on(self, more: int, seconds: float = 60) -> bool:
        """Wait until so many more effects are there; False when they do not come."""
        before, until = await self.effects(), time.monotonic() + seconds
        while time.monotonic() < until:
            if await self.effects() >= before + more:
                return True
            await asyncio.sleep(0.1)
        return False

    def roles_of(self, label: str) -> str:
        """Name the role that reaches a crash point."""
        kind = label.partition(":")[0]
        return {"feed": "relay", "projector": "projections"}.get(kind, "consumers")


def labels() -> list[str]:
    """List the crash points of the code, in the order in which they stand there."""
    return [value for name, value in vars(crash_points).items() if name.isupper() and isinstance(value, str)]


def stop_process(process: BaseProcess, number: int) -> None:
    """Send a signal to a process of ours."""
    assert process.pid is not None
    os.kill(process.pid, number)
