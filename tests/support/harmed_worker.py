"""A worker process of real services, with all roles, whose sagas are harmed by a plan until it is told to stop or killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import structlog
from temporalio.client import Client

import worker.services
from sagakit.aggregate import Aggregate
from sagakit.hops import HopLimit
from sagakit.messages import Event
from sagakit.outcome import CommandOutcome
from sagakit.repository import Repository
from sagakit.runtime import Runtime, stop_on_signals
from sagakit.service import Service, ServiceMap, saga_consumer
from sagakit.settings import load_settings
from sagakit.system import System
from sagakit.temporal.bridge import SagaStarter
from sagakit.temporal.plugin import connect_by
from tests.support.harm import Harming, Journal, refuse_on_purpose
from tests.support.processes import end_with_parent

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.harmed_worker"])


@dataclass(frozen=True)
class Job:
    """Which list of `worker.services` runs, on what, and what harms it. ``is_unfenced`` plants a defect in every participant."""

    services: str
    settings: dict[str, Any]
    plans: Path
    folder: Path
    is_unfenced: bool = False

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def ready(self) -> Path:
        return self.folder / "ready"


def start(job: Job) -> BaseProcess:
    job.ready.unlink(missing_ok=True)
    process = _context.Process(target=_main, args=(job,), name=f"worker of {job.services}", daemon=True)
    process.start()
    return process


def _main(job: Job) -> None:
    end_with_parent()
    log = os.open(job.folder / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    structlog.configure([structlog.stdlib.add_log_level, structlog.processors.KeyValueRenderer()])
    refuse_on_purpose()
    if job.is_unfenced:
        _take_fences_down()
    asyncio.run(_run(job))


async def _run(job: Job) -> None:
    stop = stop_on_signals()
    services = ServiceMap(getattr(worker.services, job.services))
    settings = load_settings(**job.settings)
    plain = await connect_by(settings, str(settings.temporal_address))
    harming = Harming(job.plans, Journal(job.journal), plain)
    config = plain.config()
    config["interceptors"] = [*config["interceptors"], harming]
    client = Client(**config)
    async with System(settings, services) as system:
        runtime = Runtime(system, client)
        harming.deliver_again = _Redelivery(system, client, runtime).of
        await runtime.start()
        job.ready.touch()
        await runtime.run_until(stop)


@dataclass(frozen=True)
class _Redelivery:
    """Hands a saga its events once more: by the broker, whose repeats the inbox stops, and behind the inbox too."""

    system: System
    client: Client
    runtime: Runtime

    async def of(self, workflow_id: str) -> None:
        services = self.system.services
        name, _, key = workflow_id.partition("/")
        service, saga = next((s, saga) for s in services.services for saga in s.sagas if saga.saga_name == name)
        starter = SagaStarter(self.client, saga, services.registry, service.name, HopLimit(services, 16))
        bus = self.runtime._bus
        assert bus is not None
        owed = [each for each in services.subscriptions() if each.consumer == saga_consumer(service, saga)]
        for subscription in owed:
            opened = await self.system.open(subscription.producer)
            for stream in streams_of(opened.service, key):
                for recorded in await opened.store.load(stream):
                    if recorded.type in subscription.event_types:
                        await starter(recorded)
                        await bus.publish(subscription, [recorded])


def streams_of(service: Service, key: str) -> list[str]:
    return [aggregate.stream_of(key) for aggregate in service.aggregates]


def aggregate_of(service: Service, event: type[Event]) -> type[Aggregate]:
    return next(aggregate for aggregate in service.aggregates if event in aggregate.event_appliers)


def _take_fences_down() -> None:
    """Plant a defect: the undo of what was not done leaves no fence, so that a late call takes effect behind it."""

    async def unfenced(self: Repository, stream: str, key: str) -> CommandOutcome:
        known = await self.store.outcome(key)
        return known or CommandOutcome(status="fenced", stream=stream, code="fenced", reason="there is no fence here")

    Repository.fence = unfenced  # type: ignore[method-assign]
