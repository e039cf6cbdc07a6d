"""Runs the loops of a process: which services, which roles, until told to stop; then drains (G9)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Literal, get_args

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from sagakit.consumer import Consumer
from sagakit.errors import InvalidInput
from sagakit.hops import HopLimit
from sagakit.leadership import Leader
from sagakit.links import Links
from sagakit.memory.bus import MemoryBus
from sagakit.patience import Patience
from sagakit.ports import Bus, Subscription
from sagakit.postgres.horizon import HorizonWatch
from sagakit.postgres.store import PostgresEventStore
from sagakit.pressure import Pressure
from sagakit.projector import Projector, effects_of
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.reactor import Reactor
from sagakit.relay import Relay
from sagakit.repartition import consume_all, partitioned
from sagakit.retention import Retention
from sagakit.retrier import Retrier
from sagakit.service import projection_checkpoint, projection_consumer, reaction_consumer, saga_consumer
from sagakit.sql import subscriptions
from sagakit.system import OpenService, System
from sagakit.temporal.activities import asked_by_fast_steps, command_activities
from sagakit.temporal.attributes import require_search_attributes
from sagakit.temporal.bridge import SagaStarter
from sagakit.temporal.children import outcome_of_child
from sagakit.temporal.executions import Executions
from sagakit.temporal.journal import recording
from sagakit.temporal.plugin import CommandRouting
from sagakit.temporal.sandbox import workflow_runner
from sagakit.temporal.scheduled import ScheduledCommand, scheduled_activities
from sagakit.temporal.scheduling import Schedules
from sagakit.temporal.sending import sending_activities
from sagakit.temporal.versions import Versions, deployment_config, deployment_of
from sagakit.temporal.watch import SagaWatch

_log = structlog.get_logger("sagakit.runtime")
Role = Literal["commands", "relay", "consumers", "projections", "sagas"]
ROLES: tuple[Role, ...] = get_args(Role)


class Runtime:
    """The loops of one process over an open `System` and a Temporal client."""

    def __init__(self, system: System, client: Client, names: Iterable[str] = (), roles: Iterable[str] = ()) -> None:
        """Take the services to run (all when none is named) and the roles (all when none is named)."""
        self._system, self._client = system, client
        self._names = list(names) or [service.name for service in system.services.services]
        self._roles = set(roles) or set(ROLES)
        if unknown := self._roles - set(ROLES):
            raise InvalidInput(f"there is no role {', '.join(sorted(unknown))}; known: {', '.join(ROLES)}")
        for name in self._names:
            system.services.service(name)
        if system.settings.is_embedded_bus and len(set(self._names)) != len(system.services.services):
            raise InvalidInput(
                "the in-process bus needs all services in one process: leave --service out, or set SAGAKIT_BUS to an AMQP URL"
            )
        self._subscriptions = partitioned(system.services.subscriptions(), system.settings.partitions)
        self._owner = f"{socket.gethostname()}/{os.getpid()}"
        self._loops: list[Relay | Projector | Retrier | Retention | HorizonWatch | Pressure | SagaWatch] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[Worker] = []
        self._stop_consumers: list[Callable[[], Awaitable[None]]] = []
        self._fast: list[OpenService] = []
        self._bus: Bus | None = None

    async def start(self) -> None:
        """Start every loop. What is missing is one error, and nothing is left half started."""
        try:
            await self._start()
        except BaseException:
            await self.drain()
            raise

    async def _start(self) -> None:
        if self._roles & {"sagas", "consumers"} and any(service.sagas for service in self._system.services.services):
            await require_search_attributes(self._client)
        await self._warn_without_version()
        bus = self._bus = await self._open_bus()
        await self._declare(bus)
        opened = [await self._system.open(name) for name in self._names]
        self._fast = [each for each in opened if each.service.fast_steps and {"commands", "sagas"} <= self._roles]
        for service in opened:
            if "consumers" in self._roles:
                await self._start_consumers(service, bus)
            if self._roles & {"commands", "sagas"}:
                self._start_worker(service)
        for service in opened:
            if "relay" in self._roles:
                await self._start_relay(service, bus)
            self._add_loops(service)
            if "sagas" in self._roles:
                await Schedules(self._client).declare(service.service)
        sagas = [saga.saga_name for service in opened for saga in service.service.sagas]
        if "sagas" in self._roles and sagas:
            self._loops.append(SagaWatch(Executions(self._client), sagas))
        self._tasks += [asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in self._loops]
        self._tasks += [asyncio.create_task(worker.run(), name="temporal worker") for worker in self._workers]

    async def _warn_without_version(self) -> None:
        """Say where sagas that begin will wait, since Temporal knows of no version that takes them."""
        settings = self._system.settings
        if settings.build_id is None or not self._roles & {"commands", "sagas"}:
            return
        for name in await Versions(self._client, [deployment_of(settings, each) for each in self._names]).without_current():
            remedy = f"sagas make-current {settings.build_id}"
            _log.warning("no build is current: what begins waits", deployment=name, remedy=remedy)

    async def _declare(self, bus: Bus) -> None:
        """Make every consumer's queue before any relay publishes, so that none misses the first events."""
        await bus.declare(self._subscriptions)
        foreign = {service.name for service in self._system.services.foreign}
        for subscription in self._subscriptions:
            if subscription.producer in foreign:
                await bus.bind_foreign(subscription)

    async def _open_bus(self) -> Bus:
        settings = self._system.settings
        if settings.is_embedded_bus:
            return MemoryBus()
        bus = self._bus = RabbitBus(settings.bus, settings.publish_seconds, settings.prefetch, publishing=settings.publisher)
        await bus.open()
        return bus

    def _add_loops(self, opened: OpenService) -> None:
        """Add the loops that need no bus."""
        if "projections" in self._roles:
            self._start_projectors(opened)
        if "commands" in self._roles and opened.service.aggregates:
            self._loops.append(Retention.of_outcomes(opened.store, self._system.settings.command_retention_hours))
            declared = [each.consumer for each in self._subscriptions]
            self._loops.append(Pressure(opened.repository, opened.tables, declared, self._system.settings.max_undelivered))
        if "consumers" in self._roles:
            hours = self._system.settings.inbox_retention_hours
            self._loops.append(Retention.of_inbox(opened.service.name, opened.tables, hours))
        if self._roles & {"projections", "relay"} and isinstance(opened.store, PostgresEventStore):
            self._loops.append(HorizonWatch(opened.service.name, opened.tables))

    def _leader(self, opened: OpenService, name: str) -> Leader:
        return Leader(opened.tables, name, self._owner, self._system.settings.lease_seconds)

    async def _start_relay(self, opened: OpenService, bus: Bus) -> None:
        settings = self._system.settings
        async with opened.tables.transaction() as session:
            for subscription in self._subscriptions:
                if subscription.producer == opened.service.name:
                    await subscriptions.record(session, subscription)

        def lead(name: str) -> Leader:
            return self._leader(opened, name)

        self._loops.append(Relay(opened.store, opened.tables, lead, bus, settings.relay_batch, settings.poll_seconds))

    def _start_projectors(self, opened: OpenService) -> None:
        for projection in opened.service.projections:
            if not any(self._system.services.producer_of(event) is opened.service for event in projection.handlers):
                continue
            leader = self._leader(opened, projection_checkpoint(projection))
            registry, poll = self._system.services.registry, self._system.settings.poll_seconds
            projector = Projector(projection(), opened.store, opened.tables, registry, leader, poll, self._patience)
            self._loops += [projector, projector.retrier]

    async def _start_consumers(self, opened: OpenService, bus: Bus) -> None:
        services, patience = self._system.services, self._patience
        owed: dict[str, list[Subscription]] = {}
        for subscription in self._subscriptions:
            owed.setdefault(subscription.consumer, []).append(subscription)
        hops = HopLimit(services, self._system.settings.max_hops)
        fast, is_versioned = [each.service.name for each in self._fast], self._system.settings.build_id is not None
        for saga in opened.service.sagas:
            queue, store = opened.service.name, opened.store
            starter = SagaStarter(self._client, saga, services.registry, queue, hops, fast, store, is_versioned=is_versioned)
            consumer = Consumer(saga_consumer(opened.service, saga), opened.tables, patience, before=starter)
            await self._consume(opened, bus, owed[consumer.name], consumer)
        for reaction in opened.service.reactions:
            reactor = Reactor(opened.service, reaction, services, opened.repository, hops)
            consumer = Consumer(reaction_consumer(opened.service, reaction), opened.tables, patience, before=reactor)
            await self._consume(opened, bus, owed[consumer.name], consumer)
        for projection in opened.service.projections:
            name = projection_consumer(opened.service, projection)
            if name in owed:
                consumer = Consumer(name, opened.tables, patience, effects=effects_of(projection(), services.registry))
                await self._consume(opened, bus, owed[name], consumer)

    async def _consume(self, opened: OpenService, bus: Bus, owed: list[Subscription], consumer: Consumer) -> None:
        self._loops.append(consumer.retrier)
        self._stop_consumers += await consume_all(bus, opened.tables, owed, consumer.handle, consumer.refuse)

    @property
    def _patience(self) -> Patience:
        return Patience(self._system.settings.attempts, self._system.settings.retry_seconds)

    def _asked_on_the_queue(self, opened: OpenService) -> list[Callable[..., Any]]:
        """Make all that sagas may ask on a service's queue: a process serves each of them, or takes none from there.

        Temporal gives a task to whoever asks first, and one that is not served fails there until another process has it.
        """
        service = opened.service
        if "commands" not in self._roles and service.aggregates:
            return []
        activities: list[Callable[..., Any]] = []
        activities += command_activities(service, opened.repository, self._system.settings.batch_concurrency)
        activities += service.activities
        activities += [recording(opened.store), outcome_of_child(self._client)] if service.sagas else []
        activities += sending_activities(service, opened.repository)
        activities += scheduled_activities(service, self._system.services, opened.repository)
        return activities

    def _start_worker(self, opened: OpenService) -> None:
        settings, service = self._system.settings, opened.service
        served = self._asked_on_the_queue(opened)
        activities = list(served)
        workflows: list[type] = [*service.sagas, *([ScheduledCommand] if service.schedules else [])]
        workflows = workflows if "sagas" in self._roles else []
        if workflows:
            here = {each.service.name: each.repository for each in self._fast}
            own = service.name if "commands" in self._roles else None
            activities += asked_by_fast_steps(self._system.services.services, here, own, settings.batch_concurrency)
        if not activities and not workflows:
            return
        self._workers.append(
            Worker(
                self._client,
                task_queue=service.name,
                workflows=workflows,
                activities=activities,
                no_remote_activities=not served,  # what is there for fast steps alone asks for no tasks
                interceptors=[CommandRouting(self._system.services, Links(settings.trace_url, settings.stream_url))],
                workflow_runner=workflow_runner(self._client.data_converter, service.sagas),
                graceful_shutdown_timeout=timedelta(seconds=settings.drain_seconds),
                deployment_config=deployment_config(settings, service.name),
                max_concurrent_activities=settings.worker_concurrency,
                max_concurrent_workflow_tasks=max(2, settings.worker_concurrency),
            )
        )

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set or a loop dies, which is an error; then drain."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await self.drain()
        for task in done - {stopping}:
            await task

    async def wait_beside(self, task: asyncio.Task[Any]) -> None:
        """Wait for a task, or until a loop dies: then the task is cancelled and the loop's error raised."""
        await asyncio.wait([task, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for loop in self._tasks:
                if loop.done():
                    await loop

    async def drain(self) -> None:
        """Take nothing new in, finish what is in hand, give leases and connections back."""
        _log.info("draining")
        await asyncio.gather(*(stop() for stop in self._stop_consumers), return_exceptions=True)
        for loop in self._loops:
            loop.stop()
        await asyncio.gather(*(worker.shutdown() for worker in self._workers if worker.is_running), return_exceptions=True)
        _, pending = (
            await asyncio.wait(self._tasks, timeout=self._system.settings.drain_seconds) if self._tasks else (set(), set())
        )
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self._bus is not None:
            await self._bus.close()


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
