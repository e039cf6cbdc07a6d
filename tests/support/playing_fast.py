"""Plays a saga whose steps are fast ones where they may be, with services that are only played, on their own queues."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from sagakit import Event, Saga
from sagakit.service import ServiceMap
from sagakit.steps import FAST_SERVICES, SagaResult, Verdict, first_attributes
from sagakit.temporal.children import outcome_of_child
from sagakit.temporal.participants import Fault, Participants
from sagakit.temporal.plugin import CommandRouting
from sagakit.temporal.sandbox import workflow_runner
from worker.services import BANK, SERVICES

_LOOK_SECONDS = 0.05


@asynccontextmanager
async def playing_fast(
    client: Client, saga: type[Saga], event: Event, faults: Mapping[int, Fault]
) -> AsyncIterator[WorkflowHandle[Any, SagaResult]]:
    """Play it to its end; what is parked is tried again. Yields the handle of what has ended."""
    services = ServiceMap((*SERVICES, *BANK))
    workflow_id = f"{saga.workflow_id(event)}~{uuid.uuid4().hex[:8]}"
    handle: WorkflowHandle[Any, SagaResult] = client.get_workflow_handle(workflow_id, result_type=SagaResult)

    async def on_call(number: int) -> None:
        if faults.get(number) == "cancelled":
            await handle.cancel()

    cast = Participants(faults, on_call)
    activities = [*cast.activities(services.registry.commands), outcome_of_child(client)]
    async with AsyncExitStack() as stack:
        for service in services.services:
            worker = Worker(
                client,
                task_queue=service.name,
                workflows=service.sagas,
                activities=activities,
                interceptors=[CommandRouting(services)],
                workflow_runner=workflow_runner(client.data_converter, service.sagas),
            )
            await stack.enter_async_context(worker)
        await client.start_workflow(
            saga.__name__,
            event,
            id=workflow_id,
            task_queue=str(services.queue_of_saga(saga.__name__)),
            memo={
                "correlation_id": workflow_id,
                "event_id": str(uuid.uuid4()),
                FAST_SERVICES: [service.name for service in services.services],
            },
            search_attributes=first_attributes(workflow_id),
        )
        deciding = asyncio.create_task(_decide(handle))
        try:
            await handle.result()
        finally:
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)
        yield handle


async def _decide(handle: WorkflowHandle[Any, SagaResult]) -> None:
    """Have every parked step tried again, until the saga has ended."""
    with suppress(RPCError):
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            shown = await handle.query("steps")
            for step in shown["steps"]:
                if step["state"].startswith("parked"):
                    verdict = Verdict(action="retry", actor="rehearsal", reason="rehearsed", step=step["number"])
                    await handle.execute_update("decide_parked_step", verdict)
