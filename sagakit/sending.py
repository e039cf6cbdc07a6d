"""How a saga's step reaches its service: one activity, named by the command, tried until its fate is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

with workflow.unsafe.imports_passed_through():
    from opentelemetry import trace
    from opentelemetry.trace import StatusCode

    from sagakit.errors import PayloadTooLarge, StepRefused, StepTimedOut
    from sagakit.fast_steps import FastSteps, begin_attempt, decided
    from sagakit.messages import Command
    from sagakit.refusals import refusal_of
    from sagakit.steps import RECOVERY, Recovery, Step, StepReply, StepRequest

_BATCH_TIMEOUT = timedelta(seconds=60)
# A killed worker's attempt is tried again after it: a saga goes on within a quarter of a minute (failures D7).
_ATTEMPT_TIMEOUT = timedelta(seconds=10)
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=20))

_LIMIT_BYTES = 2_000_000
"""Temporal refuses a command with more than 2 MiB of payload, and would be asked again for ever; some is left for a codec."""


def require_size(what: str, size: int) -> None:
    """Raise `PayloadTooLarge` for more bytes than Temporal takes."""
    if size > _LIMIT_BYTES:
        raise PayloadTooLarge(what, size, _LIMIT_BYTES)


def recovery() -> Recovery | None:
    """Say what a person began this run for; None for a run like any other."""
    found = workflow.memo().get(RECOVERY)
    return None if found is None else Recovery.model_validate(found)


def request_of(saga_name: str, commands: Sequence[Command], key: str) -> StepRequest:
    """Write the request of a forward step's first attempt."""
    info, memo = workflow.info(), workflow.memo()  # decoded once a run; single values would be each time
    return StepRequest(
        commands=[command.model_dump(mode="json") for command in commands],
        key=key,
        is_undo=False,
        correlation_id=str(memo.get("correlation_id", info.workflow_id)),
        # A saga acts because of the event that started it, so stored events alone show the whole chain.
        causation_id=str(memo.get("event_id", info.workflow_id)),
        actor=f"saga {saga_name}",
        hops=int(memo.get("hops", 0)),
    )


async def send(step: Step, command: Command, request: StepRequest, within: timedelta | None, fast: FastSteps) -> StepReply:
    """Have the command's service do a step: here, where it is a fast one, else by an activity until its fate is known.

    Raises `StepRefused` when the business says no, `StepTimedOut` when it was not done within its time.
    """
    name, began, news = command.command_name, workflow.now(), fast.news
    summary = f"{'undo: ' if request.is_undo else ''}{len(request.commands)} x {name}, {command.aggregate_id}"[:200]
    span = trace.get_tracer("sagakit").start_span(f"step {name}")
    # Current only while an activity takes its headers: a span held over an await is left in another context when the
    # worker evicts the saga.
    try:
        if fast.takes(step, name, request, within):
            with trace.use_span(span):
                attempt = begin_attempt(name, request, summary)
            if (reply := await decided(name, attempt)) is not None:
                return reply
        left = None if within is None else max(began + within - workflow.now(), timedelta(milliseconds=1))
        with trace.use_span(span):
            activity = _begin(name, request, left, summary)
        reply = await activity
    except StepRefused:
        span.set_status(StatusCode.ERROR)
        raise
    except ActivityError as error:
        span.set_status(StatusCode.ERROR)
        cause = error.cause
        if isinstance(cause, TemporalTimeoutError) and within is not None:
            raise StepTimedOut(name, within.total_seconds(), str(cause.cause or cause)) from error
        if not isinstance(cause, ApplicationError):
            raise
        if not cause.non_retryable and within is not None:  # no time for another attempt was left
            raise StepTimedOut(name, within.total_seconds(), cause.message) from error
        raise refusal_of(name, cause) from error
    else:
        fast.record(news)
        return reply
    finally:
        span.end()


def _begin(name: str, request: StepRequest, within: timedelta | None, summary: str) -> workflow.ActivityHandle[StepReply]:
    """Begin the command's activity on the queue of its service (the worker's interceptor fills in the queue)."""
    is_batch = len(request.commands) > 1
    attempt = _BATCH_TIMEOUT if is_batch else _ATTEMPT_TIMEOUT
    return workflow.start_activity(
        name,
        request,
        result_type=StepReply,
        schedule_to_close_timeout=within,
        start_to_close_timeout=attempt if within is None else min(attempt, within),
        heartbeat_timeout=timedelta(seconds=15) if is_batch else None,
        retry_policy=_RETRIES,
        summary=summary,
    )
