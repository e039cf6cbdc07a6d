"""Sagas as people see and steer them: listed, shown, decided about, and begun anew when they ended without an outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import OneTimeVersioningOverride, WorkerDeploymentVersion, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.steps import CORRELATION_ID, RECOVERY, SAGA_STATUS, Answer, Recovery, Verdict, Wish, first_attributes
from sagakit.temporal.past import history_of

_PATIENCE = timedelta(seconds=20)
_WITHOUT_OUTCOME = (
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
)
_PARKED = "SagaStatus = 'parked' and ExecutionStatus = 'Running'"
_LOST = (
    "SagaStatus in ('running', 'asking', 'compensating', 'parked') "
    "and ExecutionStatus in ('Terminated', 'Failed', 'TimedOut', 'Canceled')"
)
OPEN_AND_PINNED = "TemporalWorkflowVersioningBehavior = 'Pinned' and ExecutionStatus = 'Running'"
"""The condition for sagas that keep a version in use."""


@dataclass(frozen=True)
class Execution:
    """One saga as Temporal knows it. ``is_lost``: it ended without an outcome, by a termination or a mistake in its code."""

    workflow_id: str
    status: str | None
    correlation_id: str | None
    started: datetime
    closed: datetime | None
    is_lost: bool


class Executions:
    """The sagas of a namespace. Raises `InvalidInput` for an unknown one, `TemporalUnavailable`."""

    def __init__(self, client: Client) -> None:
        """Take a client."""
        self._client = client

    async def listed(self, status: str | None, pinned_to: Iterable[str] = ()) -> AsyncIterator[Execution]:
        """Read sagas from the visibility store, newest first; it may lag behind by a moment.

        With ``pinned_to``, versions as Temporal writes them, only those that are open and keep one of them in use.
        """
        query = "SagaStatus is not null" if status is None else f"SagaStatus = '{status}'"
        if status == "parked":
            query = f"({query}) or ({_LOST})"
        if versions := ", ".join(f"'{version}'" for version in pinned_to):
            query = f"({query}) and {OPEN_AND_PINNED} and TemporalWorkerDeploymentVersion in ({versions})"
        async for found in self._found(query):
            yield found

    async def lost(self) -> list[Execution]:
        """Find the sagas that ended without an outcome, and that nobody has begun anew since."""
        return [found async for found in self._found(_LOST) if (await self.look(found.workflow_id)).is_lost]

    async def parked(self) -> list[Execution]:
        """Find the sagas that wait now for a person to decide about a step."""
        return [found async for found in self._found(_PARKED)]

    async def _found(self, query: str) -> AsyncIterator[Execution]:
        try:
            async for found in self._client.list_workflows(query):
                yield _execution(found)
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal does not list sagas: {error.message}") from error

    async def look(self, workflow_id: str) -> Execution:
        """Look at the newest run of one saga."""
        try:
            found = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            raise _as_ours(workflow_id, error) from error
        if found.typed_search_attributes.get(SAGA_STATUS) is None:
            raise InvalidInput(f"the workflow {workflow_id} is no saga")
        return _execution(found)

    async def steps(self, workflow_id: str) -> dict[str, Any]:
        """Ask a saga for its steps: answered by a worker, from the history where it has ended."""
        try:
            answer: dict[str, Any] = await self._client.get_workflow_handle(workflow_id).query("steps", rpc_timeout=_PATIENCE)
        except WorkflowQueryFailedError as error:
            raise TemporalUnavailable(f"{workflow_id} cannot say how it stands: {error}") from error
        except RPCError as error:
            raise _as_ours(workflow_id, error) from error
        return answer

    async def decide(self, workflow_id: str, verdict: Verdict) -> str:
        """Decide about a parked step; return what was decided."""
        return await self._update(workflow_id, "decide_parked_step", verdict)

    async def answer(self, workflow_id: str, answer: Answer) -> str:
        """Answer what a saga asks; return the choice."""
        return await self._update(workflow_id, "answer_question", answer)

    async def cancel(self, workflow_id: str, wish: Wish) -> str:
        """Make a saga compensate, as long as it is before its pivot."""
        return await self._update(workflow_id, "cancel_saga", wish)

    async def begin_anew(self, workflow_id: str, way: Literal["resume", "compensate"], wish: Wish) -> None:
        """Begin a saga that ended without an outcome anew, under its id, to go on or to undo.

        What its steps did is known by their keys: none takes effect twice, those that were not done are done (*resume*) or,
        before the pivot, left undone and the others undone (*compensate*). Keys count the steps, so it begins on the version that
        it was pinned to; Temporal refuses it where no worker of that version was seen for long.
        """
        found = await self.look(workflow_id)
        if not found.is_lost:
            raise InvalidInput(f"{workflow_id} has not ended without an outcome: it is {found.status}")
        past = await history_of(self._client, workflow_id)
        told = Recovery(way=way, actor=wish.actor, reason=wish.reason, letters=past.letters, answers=past.answers)
        correlation_id = found.correlation_id or workflow_id
        try:
            await self._client.start_workflow(
                past.workflow_type,
                args=past.arguments,
                id=workflow_id,
                task_queue=past.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=f"begun anew to {way} by {wish.actor}: {wish.reason}"[:200],
                memo={**past.memo, RECOVERY: told.model_dump(mode="json")},
                search_attributes=first_attributes(correlation_id),
                versioning_override=_on(past.version),
            )
        except WorkflowAlreadyStartedError:
            raise InvalidInput(f"{workflow_id} runs already: somebody else was quicker") from None
        except RPCError as error:
            raise _as_ours(workflow_id, error) from error

    async def _update(self, workflow_id: str, name: str, argument: Any) -> str:
        _require_open(await self.look(workflow_id))
        handle: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(workflow_id)
        try:
            return str(await handle.execute_update(name, argument, rpc_timeout=_PATIENCE))
        except WorkflowUpdateFailedError as error:
            why = error.cause.message if isinstance(error.cause, ApplicationError) else error.cause
            raise InvalidInput(f"{workflow_id}: {why}") from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise _unanswered(workflow_id) from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                _require_open(await self.look(workflow_id))  # it may have ended in between
            raise _as_ours(workflow_id, error) from error


def _execution(found: Any) -> Execution:
    status = found.typed_search_attributes.get(SAGA_STATUS)
    is_lost = found.status in _WITHOUT_OUTCOME and status not in ("completed", "compensated")
    return Execution(
        found.id,
        f"parked ({found.status.name.lower()})" if is_lost else status,
        found.typed_search_attributes.get(CORRELATION_ID),
        found.start_time,
        found.close_time,
        is_lost,
    )


def _require_open(found: Execution) -> None:
    if found.closed is not None:
        advice = "; begin it anew with `sagas resume` or `sagas compensate`" if found.is_lost else ""
        raise InvalidInput(f"{found.workflow_id} has ended: {found.status}{advice}")


def _unanswered(workflow_id: str) -> TemporalUnavailable:
    return TemporalUnavailable(
        f"{workflow_id} does not answer: does a worker of its service run, of the build that it is pinned to (`sagas versions`)?"
    )


def _on(version: Any) -> OneTimeVersioningOverride | None:
    """Have the first task done by a version, which the run is pinned to by it."""
    if not version.build_id:
        return None
    return OneTimeVersioningOverride(WorkerDeploymentVersion(version.deployment_name, version.build_id))


def _as_ours(workflow_id: str, error: RPCError) -> Exception:
    if error.status is RPCStatusCode.NOT_FOUND:
        return InvalidInput(f"there is no saga {workflow_id!r}; `sagas list` names them")
    if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
        return _unanswered(workflow_id)
    return TemporalUnavailable(f"{workflow_id}: {error.message}")
