"""Our side as it runs in a process of its own: sagas with services in memory, and with everything that is real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from benchmarks.sagas.domain import Car, Flight, Hotel, RequestTrip, Trip, TripRequested
from benchmarks.sagas.memory_store import MemoryStore
from benchmarks.sagas.our_booking import AwaitTrip, BookTrip
from benchmarks.sagas.sides import Side
from sagakit import Service
from sagakit.messages import Metadata, RecordedEvent, new_event
from sagakit.repository import Context, Repository
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SagaResult
from sagakit.system import OpenService, System
from sagakit.temporal.bridge import SagaStarter
from sagakit.temporal.plugin import connect

LEGS = (
    "the command's commit",
    "relay, RabbitMQ and consumer until Temporal has the saga",
    "until the first step's event",
    "the second's",
    "the third's",
    "until the saga has ended",
    "until the caller knows",
)


class InMemory(System):
    """A system whose services keep their events in memory; their other tables are in files that nothing here writes to."""

    def __init__(self, *arguments: Any) -> None:
        """Begin with empty logs."""
        super().__init__(*arguments)
        self.logs: dict[str, MemoryStore] = {}

    async def open(self, name: str) -> OpenService:
        """See the base."""
        opened = await super().open(name)
        log = self.logs.setdefault(name, MemoryStore(name))
        return replace(opened, repository=Repository(log, self.services.registry, opened.repository.image, opened.failures))


@dataclass
class Ours:
    """Sagas that are started as a consumer starts them, with services in memory."""

    client: Client
    system: InMemory
    starters: list[SagaStarter] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def running(cls, address: str, folder: Path, *, fast: bool) -> AsyncIterator[Side]:
        """Run worker and client."""
        client = await connect(address, "default")
        service = Service(
            "bookings_fast" if fast else "bookings",
            aggregates=(Trip, Car, Hotel, Flight), sagas=(BookTrip, AwaitTrip), fast_steps=fast,
        )  # fmt: skip
        async with InMemory(load_settings(data=folder), ServiceMap([service])) as system:
            runtime = Runtime(system, client, (), ("commands", "sagas"))
            await runtime.start()
            names = [service.name] if fast else []
            yield cls(client, system, [
                SagaStarter(client, saga, system.services.registry, service.name, fast=names) for saga in service.sagas
            ])  # fmt: skip
            await runtime.drain()

    async def book(self, trip: str) -> None:
        """See the protocol."""
        await self.starters[0](_requested(trip))
        handle = self.client.get_workflow_handle(f"book-trip/{trip}", result_type=SagaResult)
        _require_completed(await handle.result())

    async def open(self, trip: str) -> None:
        """See the protocol."""
        await self.starters[1](_requested(trip))

    async def bookings(self) -> int:
        """See the protocol."""
        return sum([await log.head() for log in self.system.logs.values()])


@dataclass
class Whole:
    """Everything that is real: commands, logs in PostgreSQL, relays, RabbitMQ, consumers, sagas; a service each.

    Times are of one machine's clock, whoever took them; ``legs`` are filled where trips come one at a time.
    """

    client: Client
    system: System
    legs: list[dict[str, float]] = field(default_factory=list)
    _ended: list[tuple[str, float, float, float]] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def running(cls, address: str, folder: Path, database: str, bus: str, *, fast: bool) -> AsyncIterator[Side]:
        """Run all roles of all services in this process, as `start` does."""
        client = await connect(address, "default")
        services = ServiceMap(whole_services(fast=fast))
        async with System(load_settings(data=folder, database=database, bus=bus), services) as system:
            runtime = Runtime(system, client)
            await runtime.start()
            yield cls(client, system)
            await runtime.drain()

    async def book(self, trip: str) -> None:
        """See the protocol."""
        sent = time.time()
        await self.system.send(RequestTrip(trip=trip), Context())
        answered = time.time()
        handle = self.client.get_workflow_handle(f"book-trip/{trip}", result_type=SagaResult)
        while True:
            await asyncio.sleep(0.005)  # the event is on its way to the consumer that starts it
            try:
                _require_completed(await handle.result())
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
            else:
                break
        self._ended.append((trip, sent, answered, time.time()))

    async def look(self) -> None:
        """Look up where the time of each trip went, once it is not measured any more."""
        for trip, sent, answered, known in self._ended:
            described = await self.client.get_workflow_handle(f"book-trip/{trip}").describe()
            began, closed = described.start_time.timestamp(), (described.close_time or described.start_time).timestamp()
            steps = [await self._recorded(f"{name}-{trip}") for name in ("car", "hotel", "flight")]
            moments = [sent, answered, began, *steps, closed, known]
            self.legs.append({leg: (end - start) * 1000 for leg, start, end in zip(LEGS, moments[:-1], moments[1:], strict=True)})
        self._ended.clear()

    async def _recorded(self, stream: str) -> float:
        for service in self.system.services.services[1:]:
            if events := await (await self.system.open(service.name)).store.load(stream):
                return events[0].recorded_at.timestamp()
        raise AssertionError(f"nothing is recorded in {stream}")

    async def open(self, trip: str) -> None:
        """See the protocol: it is not asked for here."""
        raise NotImplementedError

    async def bookings(self) -> int:
        """See the protocol."""
        return sum([await (await self.system.open(each.name)).store.head() for each in self.system.services.services[1:]])


def whole_services(*, fast: bool) -> list[Service]:
    """List four services; their names keep the queues of two sides apart."""
    kind = "fast" if fast else "plain"
    return [
        Service(f"{kind}trips", aggregates=(Trip,), sagas=(BookTrip,)),
        *(
            Service(f"{kind}{name}", aggregates=(aggregate,), fast_steps=fast)
            for name, aggregate in (("cars", Car), ("hotels", Hotel), ("flights", Flight))
        ),
    ]


def _requested(trip: str) -> RecordedEvent:
    event = new_event(TripRequested(trip=trip, traveller="Ada"), Metadata(correlation_id=trip, actor="benchmark"))
    return RecordedEvent.of(
        event, service="bookings", stream=f"trip-{trip}", version=1, position=1, recorded_at=datetime.now(UTC)
    )


def _require_completed(result: SagaResult) -> None:
    if result.status != "completed":
        raise AssertionError(f"a trip was {result.status}: {result.reason}; the measurement counts for nothing")
