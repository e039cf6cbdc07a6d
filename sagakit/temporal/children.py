"""The activity that waits for a child saga from outside: its parent's own wait ended with an earlier run of the parent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from sagakit.steps import CHILD_OUTCOME, NOT_DONE, PARENT, ChildLook, SagaResult

_LOOK_SECONDS = 20.0


def outcome_of_child(client: Client) -> Callable[..., Any]:
    """Make the activity. It reads only; where the child has no outcome yet it fails, and is tried again."""

    @activity.defn(name=CHILD_OUTCOME)
    async def child_saga_outcome(look: ChildLook) -> SagaResult:
        """Return how the child ended. One that was lost is waited for: a person begins it anew."""
        handle: WorkflowHandle[Any, SagaResult] = client.get_workflow_handle(look.child, result_type=SagaResult)
        try:
            found = await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise _said(f"{look.child} had never begun", NOT_DONE) from None
            raise
        if await found.memo_value(PARENT, None) != look.parent:
            raise _said(f"there is a saga {look.child} already, which another began", "already_there")
        try:
            if found.status in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED):
                return await asyncio.wait_for(handle.result(), _LOOK_SECONDS)
        except (TimeoutError, WorkflowFailureError):
            pass
        raise ApplicationError(
            f"{look.child} has no outcome yet", next_retry_delay=timedelta(seconds=1), category=ApplicationErrorCategory.BENIGN
        )

    return child_saga_outcome


def _said(what: str, code: str) -> ApplicationError:
    return ApplicationError(what, type=code, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
