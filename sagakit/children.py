"""A saga that begins another as its child, and undoes all that the child did when it fails later, however deep the tree.

A child is a Temporal child workflow that its parent's end does not touch. What it takes to undo it, the journal of its calls,
comes back with its result: the undo is a new run under the child's id, which comes past its calls and compensates.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Carried, Entry
    from sagakit.course import Course, ForcedEnd
    from sagakit.errors import ChildCompensated, InvalidInput, StepRefused
    from sagakit.messages import Event
    from sagakit.shielding import shielded
    from sagakit.steps import (
        CHILD_OUTCOME,
        FAST_SERVICES,
        PARENT,
        UNDOABLE,
        ChildLook,
        Kind,
        SagaResult,
        Step,
        Undo,
        first_attributes,
    )

_LOOKS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=20))


class Child:
    """One child of one saga: begun by one step of it, under an id of its own."""

    def __init__(self, course: Course, workflow_type: str, name: str, event: Event, workflow_id: str) -> None:
        """Take the parent's course, and what the child is."""
        self._course, self._type, self._name, self._event, self.id = course, workflow_type, name, event, workflow_id

    async def run(self, *, pivot: bool, group: int | None) -> SagaResult:
        """Begin it, wait for its end, and tell it. Raises `ChildCompensated`, `StepRefused`."""
        kind = _kind_of(self._course, self._name, pivot=pivot, group=group)
        call = self._course.calls.begin(f"child {self.id}")
        step = self._step = self._course.table.begin(self._name, 1, kind, group, call)
        step.saga = self.id
        if kind == "compensable":
            self._course.undos.append(Undo(step, f"{workflow.info().workflow_id}/{step.number}", (), lambda: self._undo(call)))
        if call.is_open:
            with suppress(ChildCompensated, StepRefused), self._course.calls.noted(call):
                result = await shielded(self._until_decided(step, call), call)
                self._course.table.mark(step, "done", call=call)
                call.outcome = result.model_dump_json()
        self._course.fast.hear()
        step.state = "refused" if call.failure else "done"
        self._course.is_after_pivot = self._course.is_after_pivot or (pivot and not call.failure)
        self._course.require_no_cancellation(call)
        told = self._course.calls.told(call)
        return SagaResult.model_validate_json(told or "")

    async def _until_decided(self, step: Step, call: Entry) -> SagaResult:
        course, desk = self._course, self._course.desk
        given: Event | bytes = self._event
        kept = desk.taken_up(step)
        if kept is None:
            await course.rest.turn()
        while True:
            if kept is None:
                result = await self._outcome(step, call, given)
                if result.status == "completed":
                    return result
                call.outcome = result.model_dump_json()
                if step.kind != "retriable":
                    course.table.mark(step, "refused", call=call)
                    raise ChildCompensated(self.id, result.reason)
            last, kept = SagaResult.model_validate_json(call.outcome or ""), None
            verdict = await desk.decide(step, last.reason, step.attempts)
            await course.record(verdict.action, f"child {self.id}", verdict.actor, verdict.reason)
            if verdict.action == "complete":
                raise ForcedEnd(verdict) from None
            if verdict.action != "retry":
                return last
            # What was undone stays undone under its keys: the child goes on counting its steps, so that it has new ones.
            given, call.is_sent = _once_more(self._event, last).packed(), False
            course.table.mark(step, "running", attempts=step.attempts + 1)

    async def _outcome(self, step: Step, call: Entry, given: Event | bytes) -> SagaResult:
        course = self._course
        if call.is_sent or course.only_known:
            waiting = asyncio.create_task(self._look(step))
        else:
            reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE if given is self._event else WorkflowIDReusePolicy.ALLOW_DUPLICATE
            waiting = await self._begin(step, given, reuse)
            call.is_sent = True
        is_asked = False

        def is_to_cancel() -> bool:
            return (call.is_cancelled or course.only_known) and not is_asked and step.kind != "retriable"

        while not waiting.done():
            await course.table.wait(f"the saga {self.id}", lambda: waiting.done() or is_to_cancel())
            if not waiting.done():
                is_asked = True
                await _cancel(self.id)
        return waiting.result()

    async def _begin(self, step: Step, given: Event | bytes, reuse: WorkflowIDReusePolicy) -> asyncio.Task[SagaResult]:
        info = workflow.info()
        memo: dict[str, Any] = {
            "correlation_id": str(workflow.memo_value("correlation_id", info.workflow_id)),
            "event_id": str(workflow.memo_value("event_id", info.workflow_id)),
            "hops": int(workflow.memo_value("hops", 0)) + 1,
            PARENT: self._mark(step),
            UNDOABLE: step.kind == "compensable",
            **({FAST_SERVICES: list(self._course.fast.services)} if self._course.fast.services else {}),
        }
        with self._course.rest.flying():
            try:
                handle = await workflow.start_child_workflow(
                    self._type,
                    given,
                    id=self.id,
                    task_queue=self._course.queue_of_saga(self._type),
                    result_type=SagaResult,
                    parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                    cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
                    id_reuse_policy=reuse,
                    memo=memo,
                    search_attributes=first_attributes(memo["correlation_id"]),
                    static_summary=f"{self._name}, begun by {info.workflow_id}"[:200],
                )
            except WorkflowAlreadyStartedError:
                return asyncio.create_task(self._look(step))
        return asyncio.create_task(self._awaited(handle, step))

    async def _awaited(self, handle: workflow.ChildWorkflowHandle[Any, SagaResult], step: Step) -> SagaResult:
        try:
            return await handle
        except ChildWorkflowError:
            return await self._look(step)  # it ended without an outcome: until a person has begun it anew, and it has one

    async def _look(self, step: Step) -> SagaResult:
        """Wait for the child from outside: an earlier run of the parent began it, or a person did."""
        try:
            result: SagaResult = await workflow.execute_activity(
                CHILD_OUTCOME,
                ChildLook(child=self.id, parent=self._mark(step)),
                result_type=SagaResult,
                start_to_close_timeout=timedelta(seconds=60),
                retry_policy=_LOOKS,
                summary=f"the outcome of {self.id}"[:200],
            )
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise
            raise StepRefused(self._name, error.cause.type or "unknown", error.cause.message) from error
        return result

    def _mark(self, step: Step) -> str:
        return f"{workflow.info().workflow_id}/{step.number}"

    async def _undo(self, call: Entry) -> None:
        """Undo a child that had completed; one that was undone already, or never begun, leaves nothing to do."""
        if call.outcome is None or (result := SagaResult.model_validate_json(call.outcome)).status != "completed":
            return
        journal = Carried.unpacked(b64decode(result.journal))
        given = journal.model_copy(update={"ending": f"undone by {workflow.info().workflow_id}", "status": "running"}).packed()
        await self._course.rest.turn()
        waiting = await self._begin(self._step, given, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        undone = await self._undone(waiting)
        while undone.status != "compensated":  # what was found was its first end: its undo had not begun
            undone = await self._undone(asyncio.create_task(self._look(self._step)))

    async def _undone(self, waiting: asyncio.Task[SagaResult]) -> SagaResult:
        await self._course.table.wait(f"the undo of the saga {self.id}", waiting.done)
        return waiting.result()


def _kind_of(course: Course, name: str, *, pivot: bool, group: int | None) -> Kind:
    if pivot:
        course.require_pivot(name, group)
        return "pivot"
    return "retriable" if course.is_after_pivot else "compensable"


def _once_more(event: Event, last: SagaResult) -> Carried:
    steps = Carried.unpacked(b64decode(last.journal)).steps if last.journal else 0
    return Carried(event=event.model_dump_json(), began=workflow.now(), at=workflow.now(), steps=steps)


async def _cancel(child: str) -> None:
    try:
        await workflow.get_external_workflow_handle(child).cancel()
    except FailureError:
        return  # it has ended meanwhile


def require_served(course: Course, workflow_type: str) -> None:
    """Raise `InvalidInput` for a saga that nobody runs."""
    if course.queue_of_saga(workflow_type) is None:
        raise InvalidInput(f"no service in the list of services has the saga {workflow_type}")
