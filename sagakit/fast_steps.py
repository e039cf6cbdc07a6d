"""Fast steps: a step whose service is served in the saga's own process is first tried there, as a local activity.

One short attempt, and no more: what it does not decide, an ordinary activity under the same key does, which finds done what was
done. Where a saga may try is decided when it is started and kept in its memo: a history replays whatever the setting has become.

What such an attempt did is recorded only with its workflow task. A task that is lost is done again, perhaps with more news ahead
of it than the first time, so a fast step may stand only where news cannot lead past it: see `FastSteps`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from sagakit.refusals import refusal_of
    from sagakit.steps import FAST_SERVICES, Step, StepReply, StepRequest

_ONCE = RetryPolicy(maximum_attempts=1)
_ATTEMPT_TIMEOUT = timedelta(seconds=1)
_MOST_COMMANDS = 10
# So many attempts are over before the workflow task would have to be prolonged: signals and cancellations wait for its end,
# and the length of the history must not change within it, or a replay would decide otherwise than the saga did.
_MOST_IN_A_ROW = 7


class FastSteps:
    """Which steps of one saga are tried in its own process first.

    A step is no fast one when it has a time before the pivot, which may be over the next time; when other lines of the code go
    on beside it and it is not the first of its line, since its number depends on who comes first; and behind anything that the
    saga was told (an event, an answer, the clock), until an ordinary step has recorded what it made of that.
    """

    def __init__(self) -> None:
        """Begin with none: so stays a saga whose worker knows of no services."""
        self.services: tuple[str, ...] = ()
        self.is_stopping = False
        self._queue_of: Callable[[str], str | None] = lambda _: None
        self._candidates: set[int] = set()
        self._in_a_row = self._news = self._recorded = 0

    def allow(self, queue_of: Callable[[str], str | None]) -> None:
        """Allow what the saga was started with; ``queue_of`` names the service of a command."""
        self.services = tuple(workflow.memo().get(FAST_SERVICES, ()))
        self._queue_of = queue_of

    def consider(self, step: Step, within: timedelta | None, *, is_in_order: bool) -> None:
        """Note a step that may be a fast one. ``is_in_order``: its number is the same however often it is done again."""
        if is_in_order and (within is None or step.kind in ("pivot", "retriable")):
            self._candidates.add(step.number)

    def hear(self) -> None:
        """Note that the saga was told something that it may take another way for."""
        self._news += 1

    @property
    def news(self) -> int:
        """Count what the saga was told."""
        return self._news

    def record(self, news: int) -> None:
        """Note that an ordinary step was answered, which began when so much had been told."""
        self._recorded = max(self._recorded, news)

    def takes(self, step: Step, command: str, request: StepRequest, within: timedelta | None) -> bool:
        """Tell whether to try a step here first. One in eight goes the ordinary way, so that the saga hears of what came."""
        if not self.services or self._queue_of(command) not in self.services or len(request.commands) > _MOST_COMMANDS:
            return False
        if (step.number not in self._candidates and not request.is_undo) or self._recorded != self._news:
            return False
        if within is not None and within <= _ATTEMPT_TIMEOUT:
            return False
        self._in_a_row = (self._in_a_row + 1) % (_MOST_IN_A_ROW + 1)
        return self._in_a_row > 0


def begin_attempt(command: str, request: StepRequest, summary: str) -> workflow.ActivityHandle[StepReply]:
    """Begin the one attempt."""
    return workflow.start_local_activity(
        command,
        request,
        result_type=StepReply,
        schedule_to_close_timeout=_ATTEMPT_TIMEOUT,
        retry_policy=_ONCE,
        summary=summary,
    )


async def decided(name: str, attempt: workflow.ActivityHandle[StepReply]) -> StepReply | None:
    """Wait for the attempt; None where the fate of the step is not known. Raises `StepRefused` where the business says no."""
    try:
        return await attempt
    except FailureError as error:
        # A local activity's failure comes bare, an ordinary one's wrapped.
        cause = error.cause if isinstance(error, ActivityError) else error
        if isinstance(cause, ApplicationError) and cause.non_retryable:
            raise refusal_of(name, cause) from error
        return None


async def cancel_where_it_stands(
    task: asyncio.Task[None], is_on_its_way: Callable[[], bool], is_after_pivot: Callable[[], bool]
) -> None:
    """Cancel the author's method once it waits for no step: what a lost workflow task may have done was looked up by then."""
    await workflow.wait_condition(lambda: task.done() or not is_on_its_way())
    if not task.done() and not is_after_pivot():
        task.cancel()
