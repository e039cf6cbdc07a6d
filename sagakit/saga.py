"""Drives `workflows/`: a saga is a Temporal workflow whose steps are commands to aggregates.

Write ``@workflow.defn`` over a class that derives from `Saga`, with ``@workflow.run`` over a method that takes the event
the saga starts on. Whatever that method raises, a refusal, a cancellation or a plain Python error, makes the saga undo its
steps in reverse; the author writes no handler. Source: Garcia-Molina and Salem, Sagas, SIGMOD 1987; step kinds after
Richardson, Microservices Patterns, chapter 4.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from opentelemetry import trace
    from opentelemetry.trace import StatusCode

    from sagakit.errors import DomainError, InvalidInput, StepRefused
    from sagakit.messages import Command, Event
    from sagakit.steps import SAGA_STATUS, SagaResult, Status, Step, StepReply, StepRequest, Undo, Verdict

T = TypeVar("T")
_ATTEMPT_TIMEOUT = timedelta(seconds=60)
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=20))


class Saga:
    """The base of every saga: ``class OrderFulfilment(Saga, starts_on=OrderPlaced, key="order_id")``.

    Delivery: the saga runs once per ``<saga>/<key>``; each step takes effect at most once, and is retried until its fate
    is known. A step's undo is registered before the step is tried, because a failed attempt may have taken effect.
    """

    saga_name: ClassVar[str]
    starts_on: ClassVar[type[Event]]
    key_field: ClassVar[str]

    def __init_subclass__(cls, *, starts_on: type[Event], key: str, name: str | None = None) -> None:
        """Take the event the saga starts on and its field that names the instance; wrap the run method."""
        if key not in starts_on.model_fields:
            raise InvalidInput(f"{cls.__name__}: key={key!r} is not a field of {starts_on.__name__}")
        snake = "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("-")
        cls.saga_name, cls.starts_on, cls.key_field = name or snake, starts_on, key
        for attribute, method in list(vars(cls).items()):
            if hasattr(method, "__temporal_workflow_run"):
                setattr(cls, attribute, _run_to_an_outcome(method))

    def __init__(self) -> None:
        """Begin with no step done. A saga's own ``__init__`` calls this one."""
        self._steps: list[Step] = []
        self._undos: list[Undo] = []
        self._status: Status = "running"
        self._after_pivot = False
        self._verdict: Verdict | None = None
        self._parked_step: str | None = None

    @classmethod
    def workflow_id(cls, event: Event) -> str:
        """Name the instance that an event starts."""
        return f"{cls.saga_name}/{getattr(event, cls.key_field)}"

    async def step(
        self,
        command: Command | Sequence[Command],
        *,
        undo: Command | Sequence[Command] | None = None,
        pivot: bool = False,
    ) -> StepReply:
        """Send a command, or a batch of commands of one type, to its service and wait until it took effect.

        With ``undo`` the step is *compensable*; ``pivot=True`` marks the point of no return; every step behind the pivot
        is *retriable*: a refusal there parks the saga for a person. Raises `StepRefused` when the business says no.
        """
        commands, undos = _batch(command), _batch(undo)
        if not commands:
            return StepReply(done=0)
        if self._after_pivot and (undos or pivot):
            raise InvalidInput(f"{commands[0].command_name}: nothing compensable, and no second pivot, behind the pivot")
        if undos and len(undos) != len(commands):
            raise InvalidInput(f"{commands[0].command_name}: {len(commands)} commands, but {len(undos)} undo commands")
        kind = "pivot" if pivot else "retriable" if self._after_pivot else "compensable" if undos else "plain"
        step = Step(len(self._steps) + 1, commands[0].command_name, len(commands), kind)
        self._steps.append(step)
        key = f"{workflow.info().workflow_id}/{step.number}"
        if undos:
            self._undos.append(Undo(step, key, undos))
        sending = self._until_decided(step, commands, key) if kind == "retriable" else self._send(step, commands, key)
        # A cancellation waits until the fate of the step is known: a step cut off half way might have been the pivot.
        reply, is_cancelled = await _shielded(sending)
        self._after_pivot = self._after_pivot or pivot
        self._mark(step, "done")
        if is_cancelled and not self._after_pivot:
            raise asyncio.CancelledError
        return reply

    @workflow.update(name="decide_parked_step", description="Retry or skip the step that the saga is parked at")
    async def decide_parked_step(self, verdict: Verdict) -> str:
        """Take a person's decision about the parked step."""
        self._verdict = verdict
        return f"{verdict.action}: {self._parked_step}"

    @decide_parked_step.validator
    def _check_verdict(self, verdict: Verdict) -> None:
        if self._parked_step is None:
            raise ValueError("this saga is not parked: there is nothing to decide")
        if not verdict.reason.strip() or not verdict.actor.strip():
            raise ValueError("a decision needs an actor and a reason")

    async def _send(self, step: Step, commands: Sequence[Command], key: str, *, is_undo: bool = False) -> StepReply:
        """Run the command's activity on the queue of its service (the worker's interceptor fills in the queue)."""
        info = workflow.info()
        name = commands[0].command_name
        step.state = "running"
        self._show()
        request = StepRequest(
            commands=[command.model_dump(mode="json") for command in commands],
            key=key,
            is_undo=is_undo,
            correlation_id=str(workflow.memo_value("correlation_id", info.workflow_id)),
            # A saga acts because of the event that started it, so stored events alone show the whole chain.
            causation_id=str(workflow.memo_value("event_id", info.workflow_id)),
            actor=f"saga {self.saga_name}",
            hops=int(workflow.memo_value("hops", 0)),
        )
        span = trace.get_tracer("sagakit").start_span(f"step {name}")
        # Current only while the activity takes its headers: a span held over an await is left in another context when the
        # worker evicts the saga.
        with trace.use_span(span):
            activity = workflow.start_activity(
                name,
                request,
                result_type=StepReply,
                start_to_close_timeout=_ATTEMPT_TIMEOUT,
                heartbeat_timeout=timedelta(seconds=15) if len(commands) > 1 else None,
                retry_policy=_RETRIES,
                summary=f"{'undo: ' if is_undo else ''}{len(commands)} x {name}, {commands[0].aggregate_id}"[:200],
            )
        try:
            reply: StepReply = await activity
        except ActivityError as error:
            span.set_status(StatusCode.ERROR)
            if not isinstance(error.cause, ApplicationError):
                raise
            self._mark(step, "refused")
            raise StepRefused(name, error.cause.type or "unknown", error.cause.message) from error
        else:
            return reply
        finally:
            span.end()

    async def _until_decided(self, step: Step, commands: Sequence[Command], key: str, *, is_undo: bool = False) -> StepReply:
        """Send a step that has to succeed; a refusal parks the saga until a person retries or skips it."""
        attempt = 0
        while True:
            try:
                return await self._send(step, commands, key if attempt == 0 else f"{key}/retry-{attempt}", is_undo=is_undo)
            except StepRefused as refusal:
                attempt += 0 if is_undo else 1
                before, self._parked_step = self._status, step.name
                self._mark(step, f"parked: {refusal.reason}")
                self._set_status("parked")
                await workflow.wait_condition(lambda: self._verdict is not None)
                verdict, self._verdict, self._parked_step = self._verdict, None, None
                self._set_status(before)
                if verdict is not None and verdict.action == "skip":
                    return StepReply(done=0)

    async def _compensate(self, reason: str) -> None:
        """Undo in reverse, whatever happens; a refused undo parks the saga."""
        self._set_status("compensating")
        while self._undos:
            undo = self._undos.pop()
            await self._until_decided(undo.step, undo.commands, undo.key, is_undo=True)
            self._mark(undo.step, "undone")
        await self.compensated(reason)
        self._set_status("compensated")

    async def compensated(self, reason: str) -> None:
        """Say what else has to happen once every step is undone, as `conclude` steps; nothing by default."""

    async def conclude(self, command: Command) -> StepReply:
        """Send a command that has to succeed as the saga ends; a refusal parks the saga for a person."""
        step = Step(len(self._steps) + 1, command.command_name, 1, "retriable")
        self._steps.append(step)
        reply = await self._until_decided(step, [command], f"{workflow.info().workflow_id}/{step.number}")
        self._mark(step, "done")
        return reply

    def _mark(self, step: Step, state: str) -> None:
        step.state = state
        self._show()

    def _set_status(self, status: Status) -> None:
        self._status = status
        workflow.upsert_search_attributes([SAGA_STATUS.value_set(status)])
        self._show()

    def _show(self) -> None:
        rows = "\n".join(f"| {s.number} | `{s.name}` | {s.items} | {s.kind} | {s.state} |" for s in self._steps)
        workflow.set_current_details(
            f"**{self.saga_name}**: {self._status}\n\n| # | step | commands | kind | state |\n|---|---|---|---|---|\n{rows}"
        )


def _batch(commands: Command | Sequence[Command] | None) -> list[Command]:
    if commands is None:
        return []
    batch = [commands] if isinstance(commands, Command) else list(commands)
    if len({command.command_name for command in batch}) > 1:
        raise InvalidInput("a batch holds commands of one type: one step per command type")
    return batch


def _run_to_an_outcome(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[SagaResult]]:
    """Wrap the author's run method, so that it ends completed or compensated, and never stuck on a Python error."""

    @functools.wraps(run)
    async def to_an_outcome(self: Saga, event: Event) -> SagaResult:
        self._show()
        try:
            await run(self, event)
        except workflow.NondeterminismError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
                raise  # the worker evicts this instance; it is not the saga that ended
            reason = "cancelled" if is_cancelled_exception(error) else _reason(error)
            if self._after_pivot:
                # Neither way is left: it ends for a person to see, not silently.
                self._set_status("parked")
                raise ApplicationError(f"failed behind its pivot: {reason}", type="BehindPivot") from error
            await _shielded(self._compensate(reason))
            return SagaResult(status="compensated", reason=reason)
        self._set_status("completed")
        return SagaResult(status="completed")

    to_an_outcome.__annotations__ = {**run.__annotations__, "return": SagaResult}
    return to_an_outcome


async def _shielded(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Finish the work whatever happens to the caller; answer whether the saga was cancelled meanwhile."""
    task, is_cancelled = asyncio.create_task(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            is_cancelled = True
            if task.cancelled():
                raise
        except Exception:  # noqa: BLE001, S110 it is raised below, by the task's result
            pass
    return task.result(), is_cancelled


def _reason(error: BaseException) -> str:
    if isinstance(error, DomainError):
        return str(error)
    return f"{type(error).__name__}: {error}"
