"""What a run of a saga was started with and told, read from its history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.client import Client

from sagakit.steps import RECOVERY, Answer, Arrived, Recovery


@dataclass(frozen=True)
class Past:
    """How a run began, and what reached it: events in the order they came, answers in the order they were given."""

    workflow_type: str
    task_queue: str
    arguments: list[Any]
    memo: dict[str, Any]
    letters: tuple[Arrived, ...]
    answers: tuple[Answer, ...]
    version: WorkerDeploymentVersion


def pinned_version(events: Iterable[Any]) -> WorkerDeploymentVersion:
    """Find the version that a history is pinned to; an empty one where it is not."""
    version = WorkerDeploymentVersion()
    for event in events:
        if event.HasField("workflow_execution_started_event_attributes"):
            version = event.workflow_execution_started_event_attributes.inherited_pinned_version
        if event.HasField("workflow_task_completed_event_attributes"):
            done = event.workflow_task_completed_event_attributes
            is_pinned = done.versioning_behavior == VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
            version = done.deployment_version if is_pinned else WorkerDeploymentVersion()
    return version


async def history_of(client: Client, workflow_id: str) -> Past:
    """Read the newest run of a saga."""

    async def decoded(payloads: Iterable[Any]) -> list[Any]:
        return await client.data_converter.decode(list(payloads))

    events = (await client.get_workflow_handle(workflow_id).fetch_history()).events
    first = events[0].workflow_execution_started_event_attributes
    memo = {name: (await decoded([payload]))[0] for name, payload in first.memo.fields.items()}
    earlier = Recovery.model_validate(memo[RECOVERY]) if RECOVERY in memo else None
    letters = list(earlier.letters) if earlier else []
    answers = list(earlier.answers) if earlier else []
    for event in events:
        signal = event.workflow_execution_signaled_event_attributes
        accepted = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        if signal.signal_name == "sagakit_event":
            letters += [Arrived.model_validate(value) for value in await decoded(signal.input.payloads)]
        elif accepted.name == "answer_question":
            answers += [Answer.model_validate(value) for value in await decoded(accepted.args.payloads)]
    return Past(
        first.workflow_type.name,
        first.task_queue.name,
        await decoded(first.input.payloads),
        memo,
        tuple(letters),
        tuple(answers),
        pinned_version(events),
    )
