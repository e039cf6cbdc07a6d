"""Event to saga: starts the workflow ``<saga>/<key>``; repeating it finds the one that is there."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from sagakit import crash_points
from sagakit.errors import InvalidInput, SagaNotStarted, TemporalUnavailable
from sagakit.hops import HopLimit
from sagakit.messages import Event, RecordedEvent, Registry
from sagakit.ports import EventStore
from sagakit.saga import Saga
from sagakit.steps import FAST_SERVICES, Arrived, first_attributes
from sagakit.telemetry import count
from sagakit.temporal.unmatched import record_unmatched

_log = structlog.get_logger("sagakit.bridge")

# Answers that the same request gets again: the consumer counts them, and parks the event.
_REFUSALS = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.OUT_OF_RANGE)


class SagaStarter:
    """Starts one kind of saga. Delivery: the workflow id absorbs repeated events, open or ended (failures D14, D15)."""

    def __init__(
        self,
        client: Client,
        saga: type[Saga],
        registry: Registry,
        task_queue: str,
        hops: HopLimit | None = None,
        fast: Collection[str] = (),
        store: EventStore | None = None,
        *,
        is_versioned: bool = False,
    ) -> None:
        """Take the client, the saga, its worker's queue, how long a chain may become, and the log that keeps what came late.

        ``fast`` names the services whose steps the saga's worker tries itself first, for the whole life of the saga. With
        ``is_versioned`` Temporal chooses the worker that begins a saga: this process may be of an older version.
        """
        self._client, self._saga, self._registry, self._task_queue = client, saga, registry, task_queue
        self._hops, self._store, self._is_versioned = hops, store, is_versioned
        self._memo = {FAST_SERVICES: list(fast)} if fast else {}

    async def __call__(self, recorded: RecordedEvent) -> None:
        """Start the saga of this event; one that an upcaster split starts a saga for each part of the saga's type.

        Raises `TemporalUnavailable` when its fate is unknown, `InvalidInput` when refused, `UnreadableEvent`, `TooManyHops`.
        """
        if self._hops is not None:
            self._hops.require_room(recorded)
        for part, event in enumerate(self._registry.decode_all(recorded)):
            if type(event) is self._saga.starts_on:
                await self._start(event, recorded)
                crash_points.reached(crash_points.SAGA_STARTED)
            elif type(event) in self._saga.expects:
                await self._hand_over(event, recorded, part)

    async def _hand_over(self, event: Event, recorded: RecordedEvent, part: int) -> None:
        """Give an event to the saga it is for. One that has ended takes nothing more: that is recorded, counted and logged."""
        workflow_id = self._saga.workflow_id(event)
        arrived = Arrived(
            id=f"{recorded.id}/{part}" if part else str(recorded.id),
            type=event.event_name,
            schema_version=event.schema_version,
            stream=recorded.stream,
            version=recorded.version,
            data=event.model_dump_json(),
        )
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal("sagakit_event", arrived)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise TemporalUnavailable(f"{workflow_id} was not told of {arrived.type}: {error.message}") from error
            await self._refuse_unknown(workflow_id, arrived)
            if self._store is not None:
                await record_unmatched(self._store, workflow_id, arrived, recorded)
            _log.warning("an event came after its saga had ended", saga=workflow_id, type=arrived.type, event_id=arrived.id)
            count("sagakit.sagas.late_events", saga=self._saga.saga_name, type=arrived.type)

    async def _refuse_unknown(self, workflow_id: str, arrived: Arrived) -> None:
        """Raise `SagaNotStarted` where there has never been such a saga: the event may be early, and is tried again."""
        try:
            await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise SagaNotStarted(workflow_id, arrived.type) from None
            raise TemporalUnavailable(f"{workflow_id} could not be looked at: {error.message}") from error

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
                # One round trip less when the worker is in this process; it would begin the saga whichever version is current.
                request_eager_start=not self._is_versioned,
                static_summary=f"{self._saga.saga_name} of {recorded.stream}, started by {recorded.type}"[:200],
                memo={
                    "correlation_id": correlation_id,
                    "event_id": str(recorded.id),
                    "hops": recorded.metadata.hops + 1,
                    **self._memo,
                },
                search_attributes=first_attributes(correlation_id),
            )
        except WorkflowAlreadyStartedError:
            return  # it ran and ended: the event came again
        except RPCError as error:
            if error.status in _REFUSALS:
                raise InvalidInput(f"{workflow_id} cannot be started: {error.message}") from error
            raise TemporalUnavailable(f"{workflow_id} could not be started: {error.message}") from error
