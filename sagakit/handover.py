"""From run to run: what a saga takes with it, and how the next run takes it up. Its author sees none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Protocol

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Carried
    from sagakit.course import Course
    from sagakit.errors import PayloadTooLarge
    from sagakit.messages import Event
    from sagakit.sending import require_size
    from sagakit.step_table import A_MOMENT
    from sagakit.steps import RECOVERY, Arrived


class Continuing(Protocol):
    """What a run needs of a saga."""

    course: Course
    starts_on: ClassVar[type[Event]]

    def event_of(self, arrived: Arrived) -> Event | None:
        """See `Saga.event_of`."""


def taken_over(given: Event | bytes) -> Carried:
    """Read what a run is started with: an event, or what an earlier run handed over."""
    if isinstance(given, bytes):
        return Carried.unpacked(given)
    return Carried(event=given.model_dump_json(), began=workflow.now(), at=workflow.now())


def take_up(saga: Continuing, carried: Carried) -> None:
    """Stand where the earlier run stood, as far as the author's method does not come there by itself."""
    course = saga.course
    course.calls.entries, course.calls.is_over = carried.entries, carried.ending is not None
    course.table.count, course.table.status = carried.steps, carried.status
    if carried.steps:  # Temporal gives no static summary on to the next run
        chapter = f", chapter {carried.chapter}" if carried.chapter > 1 else ""
        course.table.origin = f"{chapter}, began {carried.began:%Y-%m-%d %H:%M:%S}, goes on from an earlier run"
    course.groups, course.decisions, course.chapter = carried.groups, carried.decisions, carried.chapter
    course.desk.kept, course.desk.status_before = dict(carried.parked), carried.status_before
    course.desk.known_answers = list(carried.known_answers)
    course.ending, course.undone = carried.ending, set(carried.undone)
    course.recovery, course.is_stopped = carried.recovery, carried.is_stopped
    wish = course.cancelled_by  # of this run: it may have come before its first step
    course.letters.take_up(((arrived, saga.event_of(arrived)) for arrived in carried.letters), carried.seen)
    course.cancelled_by = wish or carried.cancelled_by
    if carried.only_known:
        course.look_back()


def given_on(course: Course, carried: Carried) -> Carried:
    """Gather what the next run takes over; it is also what undoing a saga that has ended takes."""
    letters, seen = course.letters.hand_over()
    kept: dict[str, Any] = {
        "event": carried.event,
        "at": workflow.now(),
        "steps": course.table.count,
        "groups": course.groups,
        "decisions": course.decisions,
        "letters": letters,
        "seen": seen,
        "known_answers": tuple(course.desk.known_answers),
        "recovery": course.recovery,
    }
    if course.rest.next_state is not None:
        wish = course.cancelled_by or ("a request" if course.is_stopped else None)
        return Carried(**kept, began=workflow.now(), chapter=carried.chapter + 1, state=course.rest.next_state, cancelled_by=wish)
    return Carried(
        **kept,
        began=carried.began,
        chapter=carried.chapter,
        state=carried.state,
        entries=course.calls.entries,
        status=course.table.status,
        status_before=course.desk.status_before,
        parked=course.desk.kept,
        cancelled_by=course.cancelled_by,
        is_stopped=course.is_stopped,
        only_known=course.only_known,
        ending=course.ending,
        undone=tuple(course.undone),
    )


async def carry_through(course: Course, carried: Carried, task: asyncio.Task[Any], stop: Callable[[], None]) -> None:
    """Wait until the task is done. Where the saga is at rest and a new run is due, this one ends, and the saga goes on there.

    A cancellation of the workflow calls ``stop``; a signal that comes while the run ends makes Temporal try its end again,
    with that signal, so that none is lost.
    """
    while not task.done():
        try:
            await workflow.wait_condition(lambda: task.done() or course.is_at_rest())
            if not task.done():
                if not course.rest.is_all_told:  # a cancellation may have come as well
                    await workflow.sleep(A_MOMENT)
                if not task.done() and course.is_at_rest():
                    _go_on(course, carried)
        except asyncio.CancelledError:
            if not task.done():
                stop()
    task.result()


def _go_on(course: Course, carried: Carried) -> None:
    data = given_on(course, carried).packed()
    try:
        require_size("what this saga has to take along (let it begin a new chapter now and then)", len(data))
    except PayloadTooLarge as error:
        course.calls.is_sealed = str(error)
        course.cancelled_by = course.cancelled_by or str(error)
        return
    _continue(data, is_new_chapter=course.rest.next_state is not None)


def _continue(data: bytes, *, is_new_chapter: bool) -> NoReturn:
    memo = {name: value for name, value in workflow.memo().items() if name != RECOVERY}
    # What goes on has to find its calls where they were, so it stays on its version; a chapter begins the code anew.
    version = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if is_new_chapter else None
    attributes = workflow.info().typed_search_attributes
    workflow.continue_as_new(data, memo=memo, search_attributes=attributes, initial_versioning_behavior=version)
