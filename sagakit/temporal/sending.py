"""The activities that record the messages of a service's sagas in its log, where its relay finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from sagakit.admission import admit_events
from sagakit.asking import SagaMessage, sending_of
from sagakit.errors import InvalidInput
from sagakit.messages import Event, Metadata, new_event
from sagakit.outcome import CommandOutcome
from sagakit.repository import Repository
from sagakit.saga_journal import CATEGORY
from sagakit.service import Service
from sagakit.steps import NOT_DONE, StepReply, StepRequest
from sagakit.temporal.saga_stream import append_once
from sagakit.trace_context import current_traceparent


def sending_activities(service: Service, repository: Repository) -> list[Callable[..., Any]]:
    """Make one activity per message that a saga of the service sends."""
    messages = dict.fromkeys(message for saga in service.sagas for message in saga.asks)
    return [_activity(message, repository) for message in messages]


def _activity(message_type: type[Event], repository: Repository) -> Callable[..., Any]:
    command_type = sending_of(message_type)

    @activity.defn(name=command_type.command_name)
    async def send_message(request: StepRequest) -> StepReply:
        """Record the message under the step's key: once, however often it is tried, and never after it was taken back."""
        command = command_type.model_validate(request.commands[0])
        stream, key = f"{CATEGORY}-{command.saga}", f"{request.key}/0"
        if request.is_undo:
            found = (await repository.fence(stream, key)).status
            if found != "done" and not (request.was_done and found == "fenced"):  # as `Repository.undo` tells
                return StepReply(done=0)  # it was never sent, and never will be
            key = f"{key}/undo"
        elif request.only_if_done:
            _require_done(await repository.fence(stream, key), "it had not been done", NOT_DONE)
            return StepReply(done=1)
        outcome = await _recorded(message_type, command, request, repository, stream, key)
        _require_done(outcome, outcome.reason or "", outcome.code)
        return StepReply(done=1)

    return send_message


async def _recorded(
    message_type: type[Event], command: SagaMessage, request: StepRequest, repository: Repository, stream: str, key: str
) -> CommandOutcome:
    metadata = Metadata(
        correlation_id=request.correlation_id,
        causation_id=request.causation_id,
        command=command.command_name,
        command_key=key,
        actor=request.actor,
        traceparent=current_traceparent(),
        hops=request.hops,
    )
    envelope = new_event(message_type.model_validate(command.fields), metadata)
    try:
        admit_events(command, [envelope])
    except InvalidInput as error:
        raise ApplicationError(str(error), type="invalid_input", non_retryable=True) from error
    return await append_once(repository.store, stream, envelope, key)


def _require_done(outcome: CommandOutcome, reason: str, code: str | None) -> None:
    if outcome.status != "done":
        raise ApplicationError(reason, type=code, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
