"""The other side as it runs in a process of its own: Temporal's library, a worker, and the same way in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import GrpcCompression
from temporalio.worker import Worker

from benchmarks.sagas.bare_booking import BareTrip, BareWait
from benchmarks.sagas.bare_services import Booking, BookingServices
from benchmarks.sagas.sides import Side
from sagakit.steps import first_attributes

QUEUE = "bare"


@dataclass
class Bare:
    """Temporal's own library: started with the options that our starter takes."""

    client: Client
    services: BookingServices

    @classmethod
    @asynccontextmanager
    async def running(cls, address: str) -> AsyncIterator[Side]:
        """Run worker and client."""
        client = await Client.connect(address, data_converter=pydantic_data_converter, grpc_compression=GrpcCompression.NONE)
        services = BookingServices()
        activities = [
            services.book_car, services.cancel_car, services.book_hotel, services.cancel_hotel, services.book_flight,
        ]  # fmt: skip
        async with Worker(client, task_queue=QUEUE, workflows=[BareTrip, BareWait], activities=activities):
            yield cls(client, services)

    async def book(self, trip: str) -> None:
        """See the protocol."""
        await (await self._start(BareTrip.run, trip)).result()

    async def open(self, trip: str) -> None:
        """See the protocol."""
        await self._start(BareWait.run, trip)

    async def _start(self, run: Any, trip: str) -> Any:
        return await self.client.start_workflow(
            run,
            Booking(trip=trip, traveller="Ada"),
            id=f"bare/{trip}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            request_eager_start=True,
            static_summary=f"trip {trip}",
            memo={"correlation_id": trip},
            search_attributes=first_attributes(trip),
        )

    async def bookings(self) -> int:
        """See the protocol."""
        return len(self.services.booked)
