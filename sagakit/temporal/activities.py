"""A command is an activity, named by the command, on the task queue of its service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from sagakit.aggregate import Aggregate
from sagakit.errors import InvalidInput, NotYet
from sagakit.messages import Command
from sagakit.outcome import CommandOutcome
from sagakit.repository import Context, Repository
from sagakit.semantic_lock import judged_at
from sagakit.service import Service
from sagakit.steps import NOT_DONE, StepReply, StepRequest


def command_activities(service: Service, repository: Repository, concurrency: int) -> list[Callable[..., Any]]:
    """Make one activity per command of the service. ``concurrency`` bounds the commands of one batch in flight."""
    return [
        _activity(command, aggregate, repository, concurrency)
        for aggregate in service.aggregates
        for command in aggregate.command_handlers
    ]


def asked_by_fast_steps(
    services: Iterable[Service], here: Mapping[str, Repository], own: str | None, concurrency: int
) -> list[Callable[..., Any]]:
    """Make what the fast steps of a worker's own sagas may ask for, beside the commands of the ``own`` service.

    A saga tries fast steps wherever it runs, for its whole life: also where the setting was changed since, or never was the same.
    So a command that is not handled ``here`` is known too, and says so at once: the step goes the ordinary way. Not even known,
    it would fail the saga. Activities of other services are on their own queues, which this worker does not poll.
    """
    made: list[Callable[..., Any]] = []
    for service in services:
        if service.name in here and service.name != own:
            made += command_activities(service, here[service.name], concurrency)
        elif service.name != own:
            made += [_elsewhere(command.command_name) for command in service.commands]
    return made


def _elsewhere(name: str) -> Callable[..., Any]:
    @activity.defn(name=name)
    async def handle_nothing(_: StepRequest) -> StepReply:
        raise ApplicationError(f"{name} is not handled here", category=ApplicationErrorCategory.BENIGN)

    return handle_nothing


def _activity(
    command_type: type[Command], aggregate_type: type[Aggregate], repository: Repository, concurrency: int
) -> Callable[..., Any]:
    @activity.defn(name=command_type.command_name)
    async def handle_commands(request: StepRequest) -> StepReply:
        """Handle each command in a transaction of its own, under its own key: a retry goes on where it stopped."""
        limit = asyncio.Semaphore(concurrency)

        async def one(index: int, payload: dict[str, Any]) -> CommandOutcome:
            async with limit:
                if len(request.commands) > 1 and not activity.info().is_local:
                    activity.heartbeat(index)
                return await _handle_one(command_type, aggregate_type, repository, request, index, payload)

        try:
            outcomes = await asyncio.gather(*(one(index, payload) for index, payload in enumerate(request.commands)))
        except asyncio.CancelledError:
            if not activity.info().is_local:
                raise
            # The time of a fast step is over: no fault either. An ordinary one finds what was done.
            raise ApplicationError("a fast step was not done in its time", category=ApplicationErrorCategory.BENIGN) from None
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        for outcome in outcomes:
            if outcome.status in ("refused", "fenced"):
                # Benign: a refusal is an answer of the business, not a fault to log or to alarm about.
                raise ApplicationError(
                    outcome.reason or "",
                    len(done),
                    type=outcome.code,
                    non_retryable=True,
                    category=ApplicationErrorCategory.BENIGN,
                )
        recorded = f"{done[0].stream}@{done[0].version}" if len(outcomes) == len(done) == 1 else ""
        return StepReply(done=len(done), recorded=recorded)

    return handle_commands


async def _handle_one(
    command_type: type[Command],
    aggregate_type: type[Aggregate],
    repository: Repository,
    request: StepRequest,
    index: int,
    payload: dict[str, Any],
) -> CommandOutcome:
    try:
        command = command_type.model_validate(payload)
    except ValidationError as error:
        raise ApplicationError(
            f"{command_type.command_name}: {error.errors()[0]['msg']}", type="invalid_command", non_retryable=True
        ) from None
    command = _judged_by_temporals_clock(command)
    key = f"{request.key}/{index}"
    context = Context(
        correlation_id=request.correlation_id,
        causation_id=request.causation_id,
        actor=request.actor,
        key=_own_key(request, key),
        hops=request.hops,
    )
    try:
        if request.only_if_done:
            return await _looked_up(repository, aggregate_type.stream_of(command.aggregate_id), key)
        if request.attempt and (known := await _done_before(repository, request, key)) is not None:
            return known
        if request.is_undo:
            return await repository.undo(aggregate_type, command, context, key, was_done=request.was_done)
        return await repository.handle(aggregate_type, command, context)
    except NotYet as wait:
        raise _not_yet(str(wait)) from wait
    except InvalidInput as error:
        raise ApplicationError(str(error), type="invalid_input", non_retryable=True) from error


async def _done_before(repository: Repository, request: StepRequest, key: str) -> CommandOutcome | None:
    """Find what an earlier attempt did: of a batch that was refused, the rest is done, and is not done again under a new key."""
    for attempt in range(request.attempt):
        outcome = await repository.store.outcome(_own_key(request.model_copy(update={"attempt": attempt}), key))
        if outcome is not None and outcome.status == "done":
            return outcome
    return None


def _judged_by_temporals_clock(command: Command) -> Command:
    """Return the command with its claims judged by the server's clock: those of workers may differ."""
    info = activity.info()
    judged = judged_at(command, info.started_time)
    if judged is not command and info.is_local:  # the moment is the worker's own there
        raise _not_yet("a claim is judged in an ordinary attempt")
    return judged


def _not_yet(why: str) -> ApplicationError:
    # Tried again, and benign: waiting is no fault.
    return ApplicationError(why, type="not_yet", category=ApplicationErrorCategory.BENIGN)


def _own_key(request: StepRequest, key: str) -> str:
    """Name this attempt: a refusal is remembered under its key, so what a person tries again has a key of its own."""
    attempt = f"/retry-{request.attempt}" if request.attempt else ""
    return f"{key}/undo{attempt}" if request.is_undo else f"{key}{attempt}"


async def _looked_up(repository: Repository, stream: str, key: str) -> CommandOutcome:
    """Return what was done. What was not done is fenced: an attempt of an earlier run may still be on its way."""
    outcome = await repository.fence(stream, key)
    if outcome.status == "fenced":
        return outcome.model_copy(update={"code": NOT_DONE, "reason": "it had not been done"})
    return outcome
