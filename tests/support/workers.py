"""A process that runs some roles of some services until it is told to stop or killed, and the parent's side of it.

It is forked from a process that has everything loaded: a kill each second leaves no time for imports.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from sagakit import crash_points
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.runtime import Runtime, stop_on_signals
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.processes import end_with_parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.workers", "tests.chaos.delivery.domain"])


@dataclass(frozen=True)
class Job:
    """What a process does: ``services`` makes the list, ``client`` what stands for Temporal; ``die_at`` is a crash point and which time.

    In ``folder`` it leaves ``<name>.ready`` when its loops run, ``<name>.hit`` when it died where it should, and in
    ``*.deliveries`` the 16 bytes of the id of each event that the broker handed to it.
    """

    name: str
    services: Callable[[], ServiceMap]
    settings: dict[str, Any]
    roles: tuple[str, ...]
    folder: Path
    only: tuple[str, ...] = ()
    die_at: tuple[str, int] | None = None
    client: Callable[[], Any] | None = None

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"


def start(job: Job) -> multiprocessing.process.BaseProcess:
    for kind in ("ready", "hit"):
        job.file(kind).unlink(missing_ok=True)
    process = _context.Process(target=_main, args=(job,), name=job.name, daemon=True)
    process.start()
    return process


def duplicates(folder: Path) -> int:
    """Count the deliveries of events that had been delivered before, over all processes of a folder."""
    seen: set[bytes] = set()
    total = 0
    for path in folder.glob("*.deliveries"):
        ids = path.read_bytes()
        total += len(ids) // 16
        seen.update(ids[place : place + 16] for place in range(0, len(ids) - 15, 16))
    return total - len(seen)


def _main(job: Job) -> None:
    end_with_parent()
    log = os.open(job.file("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # A drawn traceback of every failure on purpose would be what the processor does most.
    structlog.configure([structlog.stdlib.add_log_level, structlog.processors.KeyValueRenderer()])
    if job.die_at is not None:
        _die_at(job, *job.die_at)
    _count_deliveries(job)
    asyncio.run(_run(job))


async def _run(job: Job) -> None:
    stop = stop_on_signals()
    client: Any = job.client() if job.client else None
    async with System(load_settings(**job.settings), job.services()) as system:
        runtime = Runtime(system, client, job.only, job.roles)
        await runtime.start()
        job.file("ready").touch()
        await runtime.run_until(stop)


def _die_at(job: Job, label: str, nth: int) -> None:
    reached = 0

    def hook(place: str) -> None:
        nonlocal reached
        reached += place == label
        if reached == nth:
            job.file("hit").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.set_hook(hook)


def _count_deliveries(job: Job) -> None:
    """Note what the broker hands over; what is only tried again inside the process is no delivery."""
    deliveries = os.open(job.folder / f"{job.name}-{os.getpid()}.deliveries", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    consume = RabbitBus.consume

    async def counting(self: RabbitBus, subscription: Subscription, handle: Handle, *rest: Any, **options: Any) -> Any:
        last: list[RecordedEvent] = []

        async def counted(events: Sequence[RecordedEvent]) -> None:
            if not last or last[0] is not events[0]:
                os.write(deliveries, b"".join(event.id.bytes for event in events))
                last[:] = events[:1]
            await handle(events)

        return await consume(self, subscription, counted, *rest, **options)

    RabbitBus.consume = counting  # type: ignore[method-assign]
