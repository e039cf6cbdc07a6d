"""Plays sagas with services that are only played, on a dev server that skips time: fourteen days pass in a moment.

A saga's code, its waits and its compensation are the real ones; what its steps reach answers as the rehearsal wants.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment
from temporalio.worker import Worker

from sagakit.errors import InvalidInput
from sagakit.messages import Event
from sagakit.saga import Saga
from sagakit.service import Service, ServiceMap
from sagakit.steps import CORRELATION_ID, SAGA_STATUS, Answer, Arrived, SagaResult, Verdict, first_attributes
from sagakit.temporal import payloads
from sagakit.temporal.children import outcome_of_child
from sagakit.temporal.dev_server import find_binary
from sagakit.temporal.participants import FAULTS, Call, Fault, Participants
from sagakit.temporal.plugin import CommandRouting, require_replay_safe_tracing
from sagakit.temporal.sandbox import workflow_runner
from sagakit.temporal.tree import kinds_of, step_of, taken

_QUEUE = "rehearsal"
# A server that skips time would add what it has skipped once more to the pause that it makes before a run begins so soon.
_SKIPS_TIME = ("frontend.WorkflowTimeSkippingEnabled=true", 'history.workflowIdReuseMinimalInterval="0s"')
_SKIPS = TimeSkippingConfig(max_session_skip_count=1_000_000)
_PROMPT = 'history.timerProcessorMaxTimeShift="10ms"'
_LOOK_SECONDS = 0.02
_QUESTIONS, _ANSWER_WITHIN = 5, timedelta(seconds=5)
_LOST = (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True)
class Played:
    """How a rehearsal went. ``status`` is *completed*, *compensated*, or *failed* for a mistake in the saga behind its pivot."""

    workflow_id: str
    status: str
    reason: str
    was_parked: bool
    calls: tuple[Call, ...]
    standing: Mapping[str, str]
    steps: tuple[dict[str, Any], ...]
    unmatched: tuple[str, ...]
    waited: tuple[tuple[int, str], ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `AssertionError` when a command took effect twice, or is half undone, or was done after it was undone."""
        done = [call.key for call in self.calls if call.effect == "done"]
        if len(done) != len(set(done)):
            raise AssertionError(f"done twice: {done}")
        half = [k for k, state in self.standing.items() if state == "done" and self.kinds.get(step_of(k)) == "compensable"]
        if self.status == "compensated" and half:
            raise AssertionError(f"compensated, but left as it was: {half}")
        gone = [key for key, state in self.standing.items() if state != "done"]
        if self.status == "completed" and gone:
            raise AssertionError(f"completed, but undone or never done: {gone}")


@dataclass(frozen=True)
class Scenario:
    """One rehearsal of a walk through all failures: where, what went wrong, and how the saga ended."""

    step: int
    command: str
    fault: Fault
    played: Played


@dataclass(frozen=True)
class Rehearsal:
    """What a saga is rehearsed with: its first event, the events that it is told of, and the answers that it gets."""

    saga: type[Saga]
    event: Event
    told: tuple[Event, ...] = ()
    answers: tuple[str, ...] = ()


class Stage:
    """Plays sagas of one list of services, one at a time or side by side."""

    def __init__(self, client: Client, services: ServiceMap) -> None:
        """Take a client of a server that skips time."""
        self.client, self._services = client, services

    async def play(
        self,
        saga: type[Saga],
        event: Event,
        *,
        faults: Mapping[int, Fault] | None = None,
        told: Sequence[Event] = (),
        answers: Sequence[str] = (),
        verdict: Literal["retry", "skip", "complete"] = "retry",
        doubled: bool = False,
    ) -> Played:
        """Play a saga from its first event to its end, and check it.

        ``faults`` go wrong at the steps of these numbers, from 1; ``told`` are the events it is told of as it begins,
        twice when ``doubled``; ``answers`` are given in the order it asks; what is parked is decided by ``verdict``.
        """
        workflow_id = f"{saga.workflow_id(event)}~{uuid.uuid4().hex[:8]}"
        handle: WorkflowHandle[Any, SagaResult] = self.client.get_workflow_handle(workflow_id, result_type=SagaResult)
        wanted = faults or {}

        async def on_call(number: int) -> None:
            if wanted.get(number) == "cancelled":
                await handle.cancel()

        cast = Participants(wanted, on_call)
        commands = self._services.registry.commands
        queue = f"{_QUEUE} {workflow_id}"
        sagas = list({saga, *(known for service in self._services.services for known in service.sagas)})
        routing = CommandRouting(_OneQueue(self._services, queue))
        async with Worker(
            self.client,
            task_queue=queue,
            workflows=sagas,
            activities=[*cast.activities(commands), outcome_of_child(self.client)],
            interceptors=[routing],
            workflow_runner=workflow_runner(self.client.data_converter, sagas),
        ):
            await self.client.start_workflow(
                saga.__name__,
                event,
                id=workflow_id,
                task_queue=queue,
                memo={"correlation_id": workflow_id, "event_id": str(uuid.uuid4())},
                search_attributes=first_attributes(workflow_id),
            )
            for number, letter in enumerate(told):
                for _ in range(2 if doubled else 1):
                    await handle.signal("sagakit_event", _arrived(letter, number))
            conducting = asyncio.create_task(_conduct(handle, list(answers), verdict))
            status, unmatched = "failed", tuple[str, ...]()
            try:
                result = await handle.result()
                status, reason, unmatched = result.status, result.reason, result.unmatched
            except WorkflowFailureError as error:
                reason = str(error.cause)
            finally:
                was_parked = await _ended(conducting)
            shown = await _shown(handle)
            kinds = await kinds_of(self.client, cast.standing)
        played = Played(
            workflow_id,
            status,
            reason,
            was_parked,
            tuple(cast.calls),
            cast.standing,
            tuple(shown["steps"]),
            unmatched,
            tuple((after, what) for after, what in shown["waited"]),
            kinds,
        )
        played.check()
        return played

    async def every_failure(
        self,
        saga: type[Saga],
        event: Event,
        *,
        faults: Iterable[Fault] = FAULTS,
        told: Sequence[Event] = (),
        answers: Sequence[str] = (),
    ) -> list[Scenario]:
        """Play a saga well, then once with each fault at each of its steps; each is checked. Returns all but the first.

        The steps of its children are steps of it, in the order in which they reach their services.
        """
        well = await self.play(saga, event, told=told, answers=answers)
        found: list[Scenario] = []
        steps = taken(well.calls, well.kinds)
        last = next((number for number, _, kind in steps if kind == "pivot"), len(steps))
        for number, name, kind in steps:
            for fault in faults:
                if fault == "undo refused" and kind != "compensable":
                    continue
                wanted: dict[int, Fault] = {number: fault}
                if fault == "undo refused":  # something behind it has to fail, so that it is undone at all
                    wanted[last] = "refused"
                played = await self.play(saga, event, faults=wanted, told=told, answers=answers)
                found.append(Scenario(number, name, fault, played))
        return found


class _OneQueue:
    def __init__(self, services: ServiceMap, queue: str) -> None:
        self._services, self._queue = services, queue

    def queue_of(self, command: str) -> str | None:
        return self._queue if self._services.queue_of(command) else None

    def queue_of_saga(self, workflow_type: str) -> str | None:
        return self._queue if self._services.queue_of_saga(workflow_type) else None


def _arrived(event: Event, number: int) -> Arrived:
    return Arrived(
        id=f"told-{number}",
        type=event.event_name,
        schema_version=event.schema_version,
        stream="told",
        version=number + 1,
        data=event.model_dump_json(),
    )


async def _shown(handle: WorkflowHandle[Any, SagaResult]) -> dict[str, Any]:
    """Ask a saga how it stands; again when the question was lost, as one beside another that was given up may be."""
    for _ in range(_QUESTIONS - 1):
        try:
            return dict(await handle.query("steps", rpc_timeout=_ANSWER_WITHIN))
        except RPCError as error:
            if error.status not in _LOST:
                raise
    return dict(await handle.query("steps", rpc_timeout=_ANSWER_WITHIN))


async def _conduct(
    handle: WorkflowHandle[Any, SagaResult], answers: list[str], verdict: Literal["retry", "skip", "complete"]
) -> bool:
    """Answer what is asked, decide what is parked; tell whether anything was."""
    was_parked = False
    try:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            shown = await _shown(handle)
            if shown["question"] and answers:
                answer = Answer(choice=answers.pop(0), actor="rehearsal", reason="rehearsed")
                await handle.execute_update("answer_question", answer)
            parked = [step for step in shown["steps"] if step["state"].startswith("parked")]
            for step in parked:
                was_parked = True
                decided = Verdict(action=verdict, actor="rehearsal", reason="rehearsed", step=step["number"])
                await handle.execute_update("decide_parked_step", decided)
    except asyncio.CancelledError:
        return was_parked
    except RPCError:
        return was_parked  # it has ended


async def _ended(conducting: asyncio.Task[bool]) -> bool:
    conducting.cancel()
    return await conducting


@asynccontextmanager
async def rehearsing(services: Sequence[Service], binary: Path | None = None, *, is_prompt: bool = False) -> AsyncIterator[Stage]:
    """Start a server that skips time, and open a stage on it. Raises `TemporalUnavailable`, `InvalidInput`.

    It fires a timer up to a second late, in which a rehearsed person answers. With ``is_prompt`` ten years of monthly waits pass
    in seconds; a question with a time of its own is then over before anybody answers.
    """
    if not any(service.sagas for service in services):
        raise InvalidInput("there is no saga to rehearse in this list of services")
    require_replay_safe_tracing()
    settings = (*_SKIPS_TIME, _PROMPT) if is_prompt else _SKIPS_TIME
    found = binary or await find_binary(None, lambda _: None)
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        ts_config=_SKIPS,
        dev_server_existing_path=str(found),
        dev_server_startup_timeout=timedelta(seconds=30),
        dev_server_extra_args=[word for setting in settings for word in ("--dynamic-config-value", setting)],
        search_attributes=[SAGA_STATUS, CORRELATION_ID],
        data_converter=payloads.converter,
        plugins=[OpenTelemetryPlugin()],
    )
    async with environment:
        yield Stage(environment.client, ServiceMap(services))
