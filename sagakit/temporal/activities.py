"""A command is an activity, named by the command, on the task queue of its service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from sagakit.aggregate import Aggregate
from sagakit.errors import InvalidInput
from sagakit.messages import Command
from sagakit.outcome import CommandOutcome
from sagakit.repository import Context, Repository
from sagakit.service import Service
from sagakit.steps import NOT_DONE, StepReply, StepRequest


def command_activities(service: Service, repository: Repository, concurrency: int) -> list[Callable[..., Any]]:
    """Make one activity per command of the service. ``concurrency`` bounds the commands of one batch in flight."""
    return [
        _activity(command, aggregate, repository, concurrency)
        for aggregate in service.aggregates
        for command in aggregate.command_handlers
    ]


def _activity(
    command_type: type[Command], aggregate_type: type[Aggregate], repository: Repository, concurrency: int
) -> Callable[..., Any]:
    @activity.defn(name=command_type.command_name)
    async def handle_commands(request: StepRequest) -> StepReply:
        """Handle each command in a transaction of its own, under its own key: a retry goes on where it stopped."""
        limit = asyncio.Semaphore(concurrency)

        async def one(index: int, payload: dict[str, Any]) -> CommandOutcome:
            async with limit:
                if len(request.commands) > 1:
                    activity.heartbeat(index)
                return await _handle_one(command_type, aggregate_type, repository, request, index, payload)

        outcomes = await asyncio.gather(*(one(index, payload) for index, payload in enumerate(request.commands)))
        for outcome in outcomes:
            if outcome.status in ("refused", "fenced"):
                # Benign: a refusal is an answer of the business, not a fault to log or to alarm about.
                raise ApplicationError(
                    outcome.reason or "", type=outcome.code, non_retryable=True, category=ApplicationErrorCategory.BENIGN
                )
        done = [outcome for outcome in outcomes if outcome.status == "done"]
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
        if request.is_undo:
            return await repository.undo(aggregate_type, command, context, key, was_done=request.was_done)
        return await repository.handle(aggregate_type, command, context)
    except InvalidInput as error:
        raise ApplicationError(str(error), type="invalid_input", non_retryable=True) from error


def _own_key(request: StepRequest, key: str) -> str:
    """Name this attempt: a refusal is remembered under its key, so what a person tries again has a key of its own."""
    attempt = f"/retry-{request.attempt}" if request.attempt else ""
    return f"{key}/undo{attempt}" if request.is_undo else f"{key}{attempt}"


async def _looked_up(repository: Repository, stream: str, key: str) -> CommandOutcome:
    """Return what was done. What was not done is fenced: an attempt of an earlier run may still be on its way."""
    outcome = await repository.fence(stream, key)
    if outcome.status == "fenced":
        raise ApplicationError(
            "it had not been done", type=NOT_DONE, non_retryable=True, category=ApplicationErrorCategory.BENIGN
        )
    return outcome
