"""The clock of a rehearsed saga: it goes with the real one until it is moved, from one timer to the next or on and on.

Temporal's server skips the time of an idle workflow when its options say so. A saga that is skipped on and on gets no answer to
what it asks: its time is over before anybody has seen the question. So it is moved by one timer at a time, and never by more than
what was due when it was last looked at: if it went on in between, to a question say, the time of that does not pass unseen.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.workflow.v1 import PendingActivityInfo, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse, UpdateWorkflowExecutionOptionsRequest
from temporalio.client import Client, WorkflowHandle

SKIPS_TIME = (
    "frontend.WorkflowTimeSkippingEnabled=true",
    # A server that skips time would add what it has skipped once more to the pause that it makes before a run begins so soon.
    'history.workflowIdReuseMinimalInterval="0s"',
)
"""The dynamic configuration of a server that skips time where it is told to."""

# What the server demands that it be told; none is meant.
_NO_LIMIT = 1_000_000
_NEAR = timedelta(seconds=0.5)
_TIMER_STARTED = EventType.EVENT_TYPE_TIMER_STARTED
_TIMER_FIRED, _TIMER_CANCELED = EventType.EVENT_TYPE_TIMER_FIRED, EventType.EVENT_TYPE_TIMER_CANCELED


@dataclass(frozen=True)
class Idle:
    """A run that nothing goes on in: ``now`` by its clock, and when it ``wakes`` by itself, unless its clock ``goes_on``."""

    workflow_id: str
    run_id: str
    now: datetime
    wakes: datetime | None
    goes_on: bool


class VirtualTime:
    """Moves the clocks of the workflows of a client, each by itself."""

    def __init__(self, client: Client) -> None:
        """Take the client of a server that may skip time."""
        self._client = client

    async def idle(self, workflow_id: str) -> list[Idle]:
        """Find the runs of a workflow and of its children that time alone can wake. Raises `RPCError`."""
        handle = self._client.get_workflow_handle(workflow_id)
        raw = (await handle.describe()).raw_description
        if raw.pending_children:
            found = [await self.idle(child.workflow_id) for child in raw.pending_children if child.run_id]
            return [one for of_child in found for one in of_child]
        info = raw.workflow_execution_info
        now = _now(raw)
        if info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING or _is_at_work(raw, now):
            return []
        run_id = info.execution.run_id
        if raw.workflow_extended_info.time_skipping_info.effective_config.enabled:
            return [Idle(workflow_id, run_id, now, wakes=None, goes_on=True)]
        timers = await _timers(self._client.get_workflow_handle(workflow_id, run_id=run_id))
        retries = [_utc(activity.next_attempt_schedule_time) for activity in raw.pending_activities]
        return [Idle(workflow_id, run_id, now, min([*timers, *retries], default=None), goes_on=False)]

    async def move(self, one: Idle, to: datetime) -> None:
        """Move a clock to a moment, or to the first timer before it; by no more, whatever has begun since. Raises `RPCError`.

        What is near comes by itself: a server that is asked to skip to a moment which has passed meanwhile skips beyond it.
        """
        if to - one.now > _NEAR:
            ahead = FastForwardConfig(id=str(uuid.uuid4()))
            ahead.duration.FromTimedelta(to - one.now)
            await self._skip(one, TimeSkippingConfig(enabled=True, fast_forward_config=ahead, max_session_skip_count=1))

    async def let_go(self, one: Idle) -> None:
        """Move a clock on and on, and those of the children that it begins from now on. Raises `RPCError`."""
        if not one.goes_on:
            await self._skip(one, TimeSkippingConfig(enabled=True, max_session_skip_count=_NO_LIMIT))

    async def _skip(self, one: Idle, config: TimeSkippingConfig) -> None:
        request = UpdateWorkflowExecutionOptionsRequest(
            namespace=self._client.namespace,
            workflow_execution_options=WorkflowExecutionOptions(time_skipping_config=config),
            update_mask=FieldMask(paths=["time_skipping_config"]),
            identity=self._client.identity,
        )
        request.workflow_execution.workflow_id = one.workflow_id
        request.workflow_execution.run_id = one.run_id
        await self._client.workflow_service.update_workflow_execution_options(request, retry=True)


def _now(raw: DescribeWorkflowExecutionResponse) -> datetime:
    skipped = raw.workflow_extended_info
    return _utc(skipped.time_skipping_info.current_time) if skipped.HasField("time_skipping_info") else datetime.now(UTC)


def _is_at_work(raw: DescribeWorkflowExecutionResponse, now: datetime) -> bool:
    """Tell whether something goes on in it; an activity between two attempts waits for the time of the next."""
    return raw.HasField("pending_workflow_task") or any(not _waits(activity, now) for activity in raw.pending_activities)


def _waits(activity: PendingActivityInfo, now: datetime) -> bool:
    return activity.HasField("next_attempt_schedule_time") and _utc(activity.next_attempt_schedule_time) > now


async def _timers(handle: WorkflowHandle[Any, Any]) -> list[datetime]:
    """Read from its history when each timer of a run is due, by the run's own clock."""
    due: dict[int, datetime] = {}
    async for event in handle.fetch_history_events():
        if event.event_type == _TIMER_STARTED:
            after: timedelta = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
            due[event.event_id] = _utc(event.event_time) + after
        elif event.event_type == _TIMER_FIRED:
            del due[event.timer_fired_event_attributes.started_event_id]
        elif event.event_type == _TIMER_CANCELED:
            del due[event.timer_canceled_event_attributes.started_event_id]
    return list(due.values())


def _utc(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
