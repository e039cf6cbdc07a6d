"""Plays sagas with services that are only played, on a dev server that skips time: fourteen days pass in a moment.

A saga's code, its waits and its compensation are the real ones; what its steps reach answers as the rehearsal wants.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from sagakit.asking import sendings_of
from sagakit.errors import InvalidInput
from sagakit.messages import Event
from sagakit.saga import Saga
from sagakit.service import Service, ServiceMap
from sagakit.steps import CORRELATION_ID, SAGA_STATUS, SagaResult, first_attributes
from sagakit.temporal import payloads
from sagakit.temporal.children import outcome_of_child
from sagakit.temporal.conductor import Conductor, Decided, Hands, shown_by
from sagakit.temporal.dev_server import find_binary
from sagakit.temporal.faults import FAULTS, UNDO_FAULTS, Fault
from sagakit.temporal.participants import Participants
from sagakit.temporal.played import Played
from sagakit.temporal.plugin import CommandRouting, require_replay_safe_tracing
from sagakit.temporal.rehearsal import Rehearsal
from sagakit.temporal.sandbox import workflow_runner
from sagakit.temporal.telling import Later
from sagakit.temporal.tree import kinds_of
from sagakit.temporal.virtual_time import SKIPS_TIME, VirtualTime
from sagakit.temporal.walk import Scenario, Walk, walked

T = TypeVar("T")
_QUEUE = "rehearsal"
# How long a task of the saga waits for a worker that was taken away, before it is handed to the new one.
_TASK_TIMEOUT = timedelta(seconds=3)
_SETTINGS = (
    *SKIPS_TIME,
    # Else a timer whose time was skipped fires up to a second late.
    'history.timerProcessorMaxTimeShift="10ms"',
)


class Stage:
    """Plays sagas of one list of services, one at a time or side by side."""

    def __init__(self, client: Client, services: ServiceMap, *, is_prompt: bool) -> None:
        """Take the client of a server that may skip time; see `rehearsing`."""
        self.client, self._services, self._is_prompt = client, services, is_prompt

    async def play(
        self,
        saga: type[Saga],
        event: Event,
        *,
        faults: Mapping[int, Fault] | None = None,
        at_waits: Mapping[int, Fault] | None = None,
        told: Sequence[Event | Later] = (),
        answers: Sequence[str] = (),
        verdict: Decided = "retry",
        doubled: bool = False,
        delayed: bool = False,
    ) -> Played:
        """Play a saga from its first event to its end, and check it.

        ``faults`` go wrong at the steps of these numbers, from 1, and at their undos; ``at_waits`` at the waits of these numbers,
        from 0. ``told`` are the events it is told of as it begins, twice when ``doubled``, or each as it is waited for when
        ``delayed``, or so much `Later`; ``answers`` are given in the order it asks; what is parked is decided by ``verdict``.
        """
        workflow_id = f"{saga.workflow_id(event)}~{uuid.uuid4().hex[:8]}"
        handle: WorkflowHandle[Any, SagaResult] = self.client.get_workflow_handle(workflow_id, result_type=SagaResult)
        wanted, at_waits = faults or {}, at_waits or {}

        async def on_call(number: int) -> None:
            fault = wanted.get(number)
            await conductor.at(None if fault in UNDO_FAULTS else fault)

        async def on_undo(number: int) -> None:
            fault = wanted.get(number)
            await conductor.at(fault if fault in UNDO_FAULTS else None)

        cast = Participants(wanted, on_call, on_undo)
        queue = f"{_QUEUE} {workflow_id}"
        hands = Hands(lambda: self._worker(saga, queue, cast))
        conductor = Conductor(
            VirtualTime(self.client),
            handle,
            lambda: self._begin(saga, event, workflow_id, queue),
            hands.kill,
            [one for one in told if isinstance(one, Event)],
            [one for one in told if isinstance(one, Later)],
            list(answers),
            verdict,
            at_waits,
            is_patient=delayed,
            is_prompt=self._is_prompt,
            at_once=saga.cancels_on,
        )
        working = asyncio.create_task(hands.work())
        try:
            await conductor.open(doubled=doubled)
            conducting = asyncio.create_task(conductor.conduct())
            try:
                result = await _beside(_ended(handle), working, conducting)
            finally:
                conductor.is_over = True
                conducting.cancel()
                await asyncio.gather(conducting, return_exceptions=True)
            cast.deliver_what_was_lost()
            shown = await _beside(shown_by(handle), working)
            kinds = await _beside(kinds_of(self.client, cast.standing), working)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        status, reason, unmatched = result
        played = Played(
            workflow_id,
            status,
            reason,
            conductor.was_parked,
            tuple(cast.calls),
            cast.standing,
            tuple(shown["steps"]),
            unmatched,
            tuple((after, what) for after, what in shown["waited"]),
            kinds,
            tuple(fault for fault in (*wanted.values(), *at_waits.values()) if fault not in conductor.came_to),
        )
        played.check()
        return played

    async def every_failure(
        self,
        saga: type[Saga],
        event: Event,
        *,
        faults: Iterable[Fault] = FAULTS,
        told: Sequence[Event | Later] = (),
        answers: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> Walk:
        """Play a saga well, then once with each fault wherever it can happen; each is checked. Returns all but the first.

        The places are its steps, the undo of each, and its waits, of its last chapter. The steps of its children are steps of it,
        in the order in which they reach their services. ``say`` is told how many there were.
        """
        numbers = count(1)

        async def play(
            by_step: Mapping[int, Fault],
            by_wait: Mapping[int, Fault],
            delayed: bool,  # noqa: FBT001 the walk's signature
            is_apart: bool,  # noqa: FBT001
        ) -> Played:
            about, news = _apart(saga, event, told, next(numbers)) if is_apart else (event, told)
            return await self.play(saga, about, faults=by_step, at_waits=by_wait, told=news, answers=answers, delayed=delayed)

        walk = await walked(saga.saga_name, play, [one for one in told if isinstance(one, Event)], faults)
        say(walk.summary())
        return walk

    def _worker(self, saga: type[Saga], queue: str, cast: Participants) -> Worker:
        sagas = list({saga, *(known for service in self._services.services for known in service.sagas)})
        return Worker(
            self.client,
            task_queue=queue,
            workflows=sagas,
            activities=[
                *cast.activities({*self._services.registry.commands, *sendings_of(saga.asks)}),
                outcome_of_child(self.client),
            ],
            interceptors=[CommandRouting(_OneQueue(self._services, queue))],
            workflow_runner=workflow_runner(self.client.data_converter, sagas),
            sticky_queue_schedule_to_start_timeout=_TASK_TIMEOUT,
        )

    async def _begin(self, saga: type[Saga], event: Event, workflow_id: str, queue: str) -> None:
        """Begin it; once it is there, nothing happens, as where an event comes twice."""
        await self.client.start_workflow(
            saga.__name__,
            event,
            id=workflow_id,
            task_queue=queue,
            task_timeout=_TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            memo={"correlation_id": workflow_id, "event_id": str(uuid.uuid4())},
            search_attributes=first_attributes(workflow_id),
        )

    async def rehearse(
        self, rehearsal: Rehearsal, faults: Iterable[Fault] = FAULTS, say: Callable[[str], None] = print
    ) -> Sequence[Scenario]:
        """Go through all that a rehearsal is about; each scenario is checked."""
        saga, event, told, answers = rehearsal.saga, rehearsal.event, rehearsal.told, rehearsal.answers
        if rehearsal.only is None:
            return await self.every_failure(saga, event, faults=faults, told=told, answers=answers, say=say)
        number, fault = rehearsal.only
        played = await self.play(saga, event, faults={number: fault}, told=told, answers=answers)
        return [Scenario(number, str(played.steps[number - 1]["name"]), fault, played)]


def _apart(saga: type[Saga], event: Event, told: Sequence[Event | Later], number: int) -> tuple[Event, list[Event | Later]]:
    """Make the events of a saga that is about something of its own."""
    key = f"{getattr(event, saga.key_field)}-{number}"
    about = event.model_copy(update={saga.key_field: key})

    def its_own(news: Event) -> Event:
        return news.model_copy(update={saga.expects[type(news)]: key})

    return about, [Later(each.after, its_own(each.event)) if isinstance(each, Later) else its_own(each) for each in told]


class _OneQueue:
    def __init__(self, services: ServiceMap, queue: str) -> None:
        self._services, self._queue = services, queue

    def queue_of(self, command: str) -> str | None:
        return self._queue if self._services.queue_of(command) else None

    def queue_of_saga(self, workflow_type: str) -> str | None:
        return self._queue if self._services.queue_of_saga(workflow_type) else None


async def _ended(handle: WorkflowHandle[Any, SagaResult]) -> tuple[str, str, tuple[str, ...]]:
    """Wait for the end: the status, the reason, and what was never waited for."""
    try:
        result = await handle.result()
    except WorkflowFailureError as error:
        return "failed", str(error.cause), ()
    return result.status, result.reason, result.unmatched


async def _beside(wanted: Coroutine[Any, Any, T], *goes_on: asyncio.Task[None]) -> T:
    """Wait for something, or for the end of what it needs: then that error is raised, for nothing else would ever come."""
    task = asyncio.create_task(wanted)
    await asyncio.wait([*goes_on, task], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.gather(*(ended for ended in goes_on if ended.done()))
    return await task


@asynccontextmanager
async def rehearsing(services: Sequence[Service], binary: Path | None = None, *, is_prompt: bool = False) -> AsyncIterator[Stage]:
    """Start a server that skips time, and open a stage on it. Raises `TemporalUnavailable`, `InvalidInput`.

    Time passes only while a saga waits and there is nothing to tell or to answer it. With ``is_prompt`` nobody looks once there
    is nothing left to say: ten years of monthly waits pass in seconds, and so may the deadline of a saga that is parked.
    """
    if not any(service.sagas for service in services):
        raise InvalidInput("there is no saga to rehearse in this list of services")
    require_replay_safe_tracing()
    found = binary or await find_binary(None, lambda _: None)
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(found),
        dev_server_startup_timeout=timedelta(seconds=30),
        dev_server_extra_args=[word for setting in _SETTINGS for word in ("--dynamic-config-value", setting)],
        search_attributes=[SAGA_STATUS, CORRELATION_ID],
        data_converter=payloads.converter,
        plugins=[OpenTelemetryPlugin()],
    )
    async with environment:
        yield Stage(environment.client, ServiceMap(services), is_prompt=is_prompt)
