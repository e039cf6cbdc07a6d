"""Event to saga: starts the workflow ``<saga>/<key>``; repeating it finds the one that is there."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from sagakit import crash_points
from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.messages import Event, RecordedEvent, Registry
from sagakit.saga import Saga
from sagakit.steps import CORRELATION_ID, SAGA_STATUS

# Answers that the same request gets again: the consumer counts them, and parks the event.
_REFUSALS = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.OUT_OF_RANGE)


class SagaStarter:
    """Starts one kind of saga. Delivery: the workflow id absorbs repeated events, open or ended (failures D14, D15)."""

    def __init__(self, client: Client, saga: type[Saga], registry: Registry, task_queue: str) -> None:
        """Take the client, the saga and the queue its worker polls."""
        self._client, self._saga, self._registry, self._task_queue = client, saga, registry, task_queue

    async def __call__(self, recorded: RecordedEvent) -> None:
        """Start the saga of this event; one that an upcaster split starts a saga for each part of the saga's type.

        Raises `TemporalUnavailable` when its fate is unknown, `InvalidInput` when refused, `UnreadableEvent`.
        """
        for event in self._registry.decode_all(recorded):
            if type(event) is self._saga.starts_on:
                await self._start(event, recorded)
                crash_points.reached(crash_points.SAGA_STARTED)

    async def _start(self, event: Event, recorded: RecordedEvent) -> None:
        workflow_id = self._saga.workflow_id(event)
        correlation_id = recorded.metadata.correlation_id
        try:
            await self._client.start_workflow(
                self._saga.__name__,
                event,
                id=workflow_id,
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                request_eager_start=True,  # one round trip less when the worker is in this process
                static_summary=f"{self._saga.saga_name} of {recorded.stream}, started by {recorded.type}"[:200],
                memo={"correlation_id": correlation_id, "event_id": str(recorded.id)},
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(SAGA_STATUS, "running"), SearchAttributePair(CORRELATION_ID, correlation_id)]
                ),
            )
        except WorkflowAlreadyStartedError:
            return  # it ran and ended: the event came again
        except RPCError as error:
            if error.status in _REFUSALS:
                raise InvalidInput(f"{workflow_id} cannot be started: {error.message}") from error
            raise TemporalUnavailable(f"{workflow_id} could not be started: {error.message}") from error
