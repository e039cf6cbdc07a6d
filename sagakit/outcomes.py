"""How a saga ends: completed, compensated, or parked in sight; never stuck on a Python error, never half undone."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from sagakit.course import Course, ForcedEnd
    from sagakit.errors import DomainError, StepRefused
    from sagakit.messages import Event
    from sagakit.sending import recovery
    from sagakit.shielding import shielded
    from sagakit.steps import NOT_DONE, Arrived, SagaResult


class HasCourse(Protocol):
    """What the end of a saga needs of it."""

    course: Course
    deadline: ClassVar[timedelta | None]
    cancels_on: ClassVar[frozenset[type[Event]]]

    async def compensated(self, reason: str) -> None:
        """See `Saga.compensated`."""

    def receive_event(self, arrived: Arrived) -> None:
        """See `Saga.receive_event`."""


def run_to_an_outcome(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[SagaResult]]:
    """Wrap the author's run method, so that it ends completed or compensated."""

    @functools.wraps(run)
    async def to_an_outcome(self: HasCourse, event: Event) -> SagaResult:
        self.course.table.show()
        try:
            await _take_up(self)
            await _in_time(self, run(self, event))  # type: ignore[arg-type]
        except workflow.NondeterminismError:
            raise
        except ForcedEnd as forced:
            return _end(self, "completed", str(forced))
        except BaseException as error:
            if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
                raise  # the worker evicts this instance; it is not the saga that ended
            reason = _reason(self, error)
            if self.course.is_after_pivot:
                # Neither way is left: it ends for a person to see, not silently.
                self.course.table.set_status("parked")
                raise ApplicationError(f"failed behind its pivot: {reason}", type="BehindPivot") from error
            try:
                await shielded(_compensate(self, reason))
            except ForcedEnd as forced:
                return _end(self, "compensated", f"{reason}; {forced}")
            return _end(self, "compensated", reason)
        return _end(self, "completed", "")

    to_an_outcome.__annotations__ = {**run.__annotations__, "return": SagaResult}
    return to_an_outcome


async def _compensate(saga: HasCourse, reason: str) -> None:
    await saga.course.compensate()
    await saga.compensated(reason)


def _end(saga: HasCourse, status: Any, reason: str) -> SagaResult:
    saga.course.table.set_status(status)
    return SagaResult(status=status, reason=reason, unmatched=saga.course.letters.unclaimed)


async def _in_time(saga: HasCourse, work: Coroutine[Any, Any, None]) -> None:
    """Run the author's method; cancel it when its deadline is over, or a business event asks for it, before the pivot."""
    task = asyncio.create_task(work)
    watching = asyncio.create_task(_cancel_when_due(saga, task))
    try:
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                if not task.done():
                    _stop(saga, task)
            except Exception:  # noqa: BLE001, S110 it is raised below, by the task's result
                pass
        task.result()
    finally:
        watching.cancel()


async def _take_up(saga: HasCourse) -> None:
    """Take over what an earlier run was told, where this one is its recovery."""
    found = saga.course.recovery = recovery()
    if found is None:
        return
    for arrived in found.letters:
        saga.receive_event(arrived)
    saga.course.cancelled_by = None  # what an earlier run was asked to do, a person has decided about since
    saga.course.desk.known_answers = list(found.answers)
    if found.way == "compensate":
        saga.course.look_back()
    about = "a saga that ended without an outcome"
    await shielded(saga.course.record(found.way, about, found.actor, found.reason))


def _stop(saga: HasCourse, task: asyncio.Task[None]) -> None:
    if saga.course.recovery is None:
        task.cancel()
    else:
        saga.course.look_back()


async def _cancel_when_due(saga: HasCourse, task: asyncio.Task[None]) -> None:
    course = saga.course
    try:
        await workflow.wait_condition(
            lambda: course.cancelled_by is not None, timeout=saga.deadline, timeout_summary="the saga's deadline"
        )
    except TimeoutError:
        course.cancelled_by = f"its deadline of {saga.deadline}"
    if not course.is_after_pivot:  # behind it neither undoes anything
        _stop(saga, task)


def _reason(saga: HasCourse, error: BaseException) -> str:
    if saga.course.only_known and isinstance(error, StepRefused) and error.refusal == NOT_DONE:
        return f"cancelled by {saga.course.cancelled_by}" if saga.course.cancelled_by else "undone after it had ended"
    if is_cancelled_exception(error):
        return f"cancelled by {saga.course.cancelled_by}" if saga.course.cancelled_by else "cancelled"
    return str(error) if isinstance(error, DomainError) else f"{type(error).__name__}: {error}"
