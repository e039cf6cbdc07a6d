"""What an author may call for beside steps: waits, questions, the clock, a new chapter. Each is told again to a later run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic_core import to_json

    from sagakit.carried import Entry
    from sagakit.course import Course
    from sagakit.errors import InvalidInput
    from sagakit.sending import require_size
    from sagakit.shielding import shielded
    from sagakit.steps import Answer, Question, Slept

M = TypeVar("M", bound=BaseModel)


async def waited_for(course: Course, label: str, kind: type[M], live: Callable[[Entry], Coroutine[Any, Any, M]]) -> M:
    """Wait for something that may take long; behind the pivot nothing cuts it off."""
    call = course.calls.begin(label)
    if not call.is_open:
        return kind.model_validate_json(course.calls.told(call) or "")
    with course.calls.noted(call):
        waiting = live(call)
        try:
            result = await shielded(waiting, call) if course.is_after_pivot else await waiting
        finally:
            course.fast.hear()
        call.outcome = result.model_dump_json()
    return result


async def ask(course: Course, question: Question, within: timedelta | None) -> Answer:
    """Ask a person, and record what was answered."""

    async def live(call: Entry) -> Answer:
        answer = await course.desk.ask(question, within, call)
        await shielded(course.record(f"answer {answer.choice}", question.text, answer.actor, answer.reason), call)
        course.require_no_cancellation(call)
        return answer

    return await waited_for(course, f"ask {question.text}", Answer, live)


async def sleep(course: Course, duration: timedelta) -> None:
    """Wait for some time."""

    async def live(call: Entry) -> Slept:
        call.until = call.until or workflow.now() + duration
        await course.table.wait(
            f"time to pass until {call.until:%Y-%m-%d %H:%M:%S}", lambda: course.letters.is_hurried, call.until
        )
        return Slept()

    if duration > timedelta(0):
        await waited_for(course, "sleep", Slept, live)


def now(course: Course) -> datetime:
    """Read the time, once for this place in the author's code."""
    course.fast.hear()
    return datetime.fromisoformat(course.calls.read("now", lambda: workflow.now().isoformat()))


async def new_chapter(course: Course, state: object) -> None:
    """Wait for the run that begins the author's method anew; it is this one's end."""
    if len(course.calls.lines) > 1:
        raise InvalidInput("a new chapter begins with nothing going on side by side")
    if course.is_undoable:
        raise InvalidInput("no new chapter in a child that its parent may have to undo: begin the child with pivot=True")
    written = to_json(state).decode()
    require_size("the state of a new chapter", len(written))
    call = course.calls.begin("new chapter")
    await shielded(course.undo_what_failed(), call)
    course.rest.next_state = written
    await shielded(workflow.wait_condition(lambda: False), call)
