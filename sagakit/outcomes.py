"""How a saga ends: completed, compensated, or parked in sight; never stuck on a Python error, never half undone."""

from __future__ import annotations

import asyncio
import functools
import inspect
from base64 import b64encode
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, Protocol, get_type_hints

from pydantic import TypeAdapter
from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from sagakit.calls import END
    from sagakit.carried import Carried, Entry
    from sagakit.course import Course, ForcedEnd
    from sagakit.errors import DomainError, InvalidInput, StepRefused
    from sagakit.fast_steps import cancel_where_it_stands
    from sagakit.handover import carry_through, given_on, take_up, taken_over
    from sagakit.messages import Event
    from sagakit.sending import recovery
    from sagakit.shielding import shielded
    from sagakit.step_table import A_MOMENT
    from sagakit.steps import NOT_DONE, PARENT, Arrived, SagaResult


class HasCourse(Protocol):
    """What the end of a saga needs of it."""

    course: Course
    starts_on: ClassVar[type[Event]]
    deadline: ClassVar[timedelta | None]
    cancels_on: ClassVar[frozenset[type[Event]]]

    async def compensated(self, reason: str) -> None:
        """See `Saga.compensated`."""

    def receive_event(self, arrived: Arrived) -> None:
        """See `Saga.receive_event`."""

    def event_of(self, arrived: Arrived) -> Event | None:
        """See `Saga.event_of`."""


def run_to_an_outcome(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[SagaResult]]:
    """Wrap the author's run method, so that it ends completed or compensated, in as many runs as it takes."""

    async def to_an_outcome(self: HasCourse, event: Event | bytes) -> SagaResult:
        course = self.course
        carried = taken_over(event)
        try:
            carried = await _take_up(self, carried)
            await _in_time(self, carried, run(self, *_arguments(self, run, event, carried)))  # type: ignore[arg-type]
            if course.fast.is_stopping and not course.is_after_pivot:  # its last step was on its way
                return await _compensated(self, carried, _reason(self, asyncio.CancelledError()))
            if course.ending is not None:  # a parent has it undone, or its code was changed since it came to its end
                return await _compensated(self, carried, course.ending)
        except workflow.NondeterminismError:
            raise
        except ForcedEnd as forced:
            return _end(self, carried, "completed", str(forced))
        except BaseException as error:
            if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
                raise  # the worker evicts this instance, or the saga goes on in another run; it is not the saga that ended
            reason = course.ending or _reason(self, error)
            if course.is_after_pivot:
                # Neither way is left: it ends for a person to see, not silently.
                course.table.set_status("parked")
                raise ApplicationError(f"failed behind its pivot: {reason}", type="BehindPivot") from error
            return await _compensated(self, carried, reason)
        return _end(self, carried, "completed", "")

    functools.update_wrapper(to_an_outcome, run)
    first = list(inspect.signature(run).parameters)[1]
    to_an_outcome.__annotations__ = {"event": run.__annotations__.get(first, Any), "return": SagaResult}
    to_an_outcome.__signature__ = inspect.signature(to_an_outcome, follow_wrapped=False)  # type: ignore[attr-defined]
    return to_an_outcome


def _arguments(saga: HasCourse, run: Callable[..., Any], given: Event | bytes, carried: Carried) -> list[Any]:
    event = saga.starts_on.model_validate_json(carried.event) if isinstance(given, bytes) else given
    if carried.state is None:
        return [event]
    hints = [hint for name, hint in get_type_hints(run).items() if name != "return"]
    if len(hints) < 2:  # noqa: PLR2004 the event, and what a chapter begins with
        raise InvalidInput("the run method takes no second argument, which is what a new chapter begins with")
    return [event, TypeAdapter(hints[1]).validate_json(carried.state)]


async def _compensated(saga: HasCourse, carried: Carried, reason: str) -> SagaResult:
    course = saga.course
    course.ending = reason
    try:
        await carry_through(course, carried, asyncio.create_task(_compensate(saga, reason)), lambda: None)
    except ForcedEnd as forced:
        reason = f"{reason}; {forced}"
    return _end(saga, carried, "compensated", reason)


async def _compensate(saga: HasCourse, reason: str) -> None:
    await saga.course.compensate()
    await saga.course.calls.on_line(END, saga.compensated(reason))


def _end(saga: HasCourse, carried: Carried, status: Any, reason: str) -> SagaResult:
    saga.course.table.set_status(status)
    is_child = workflow.memo().get(PARENT) is not None
    journal = b64encode(given_on(saga.course, carried).packed()).decode() if is_child else ""
    return SagaResult(status=status, reason=reason, unmatched=saga.course.letters.unclaimed, journal=journal)


async def _in_time(saga: HasCourse, carried: Carried, work: Coroutine[Any, Any, None]) -> None:
    """Run the author's method; cancel it when its deadline is over, or a business event asks for it, before the pivot."""
    task = asyncio.create_task(_run_and_tidy_up(saga.course, work))
    watching = asyncio.create_task(_cancel_when_due(saga, carried, task))
    try:
        await carry_through(saga.course, carried, task, lambda: _stop(saga, task))
    except workflow.ContinueAsNewError:
        raise  # nothing may be asked of Temporal any more
    except BaseException:
        watching.cancel()
        raise
    watching.cancel()


async def _run_and_tidy_up(course: Course, work: Coroutine[Any, Any, None]) -> None:
    await course.calls.on_line("run", work)
    await course.undo_what_failed()


async def _take_up(saga: HasCourse, carried: Carried) -> Carried:
    """Take over what an earlier run handed over, and what it was told, where this one is its recovery."""
    found = recovery()
    wish = saga.course.cancelled_by  # of this run: it may have come before its first step
    carried = carried if found is None else carried.later(workflow.now() - carried.at)
    take_up(saga, carried)
    if found is None:
        return carried
    saga.course.recovery = found.model_copy(update={"letters": (), "answers": ()})
    for arrived in found.letters:
        saga.receive_event(arrived)
    saga.course.cancelled_by = wish  # what an earlier run was asked to do, a person has decided about since
    saga.course.desk.known_answers += found.answers
    if found.way == "compensate":
        saga.course.look_back()
    about = "a saga that ended without an outcome"
    with suppress(asyncio.CancelledError):
        await shielded(saga.course.record(found.way, about, found.actor, found.reason), Entry(label="recovery"))
    return carried


def _stop(saga: HasCourse, task: asyncio.Task[None]) -> None:
    saga.course.is_stopped = True
    course = saga.course
    if course.recovery is not None:
        course.look_back()
    elif course.fast.services:
        course.only_known = course.fast.is_stopping = True
        course.stopping = asyncio.create_task(
            cancel_where_it_stands(task, lambda: course.rest.is_anything_on_its_way, lambda: course.is_after_pivot)
        )
    else:
        task.cancel()


async def _cancel_when_due(saga: HasCourse, carried: Carried, task: asyncio.Task[None]) -> None:
    course = saga.course
    left = None
    if saga.deadline is not None and course.ending is None:
        left = max(carried.began + saga.deadline - workflow.now(), A_MOMENT)
    try:
        await workflow.wait_condition(
            lambda: course.cancelled_by is not None, timeout=left, timeout_summary="the saga's deadline"
        )
    except TimeoutError:
        course.cancelled_by = f"its deadline of {saga.deadline}"
    if not course.is_after_pivot and not course.is_stopped:  # behind it neither undoes anything
        _stop(saga, task)


def _reason(saga: HasCourse, error: BaseException) -> str:
    if saga.course.only_known and isinstance(error, StepRefused) and error.refusal == NOT_DONE:
        unasked = "undone after it had ended" if saga.course.recovery else "cancelled"
        return f"cancelled by {saga.course.cancelled_by}" if saga.course.cancelled_by else unasked
    if is_cancelled_exception(error):
        return f"cancelled by {saga.course.cancelled_by}" if saga.course.cancelled_by else "cancelled"
    return str(error) if isinstance(error, DomainError) else f"{type(error).__name__}: {error}"
