"""Does sagas harm where a plan says so: an interceptor of the worker's activities, around the real services.

What is planned for a command's key (``<workflow id>/<step>``) happens at its first attempt, and what was done is noted in a
journal, line by line, so that a process that was killed there does not do it again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import temporalio.client
import temporalio.worker
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from sagakit.aggregate import Aggregate
from sagakit.errors import DomainError
from sagakit.messages import Command, Event
from sagakit.steps import StepReply, StepRequest

Harm = Literal[
    "business refusal",
    "worker kill -9 before the effect",
    "worker kill -9 behind the effect",
    "time-out",
    "late success",
    "cancel",
    "double event",
]
_FOR_EVER_SECONDS = 365 * 24 * 3600
_GATHER_SECONDS = 2.0
_SILENT_ATTEMPTS = 3
_refused: ContextVar[dict[str, Any] | None] = ContextVar("refused", default=None)


class RefusedOnPurpose(DomainError):
    """The plan says no."""


@dataclass(frozen=True)
class Planned:
    """What is done to one step of one saga, or to the undo of it.

    The key ends in the number of the step, or in the name of its command, where the number is not known before.
    """

    key: str
    is_undo: bool
    harm: Harm


@dataclass
class Journal:
    """What happened to sagas in all the processes, one after the other, of one run."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def write(self, **line: Any) -> None:
        """Note something, in one write: whoever is killed next has noted it, or has not."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, json.dumps(line).encode() + b"\n")
        os.close(file)

    def read(self) -> list[dict[str, Any]]:
        """Read all of it so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self.lines += [json.loads(line) for line in whole.splitlines()]
        return self.lines


def write_plans(path: Path, plans: list[Planned]) -> None:
    path.write_text(json.dumps([asdict(plan) for plan in plans]))


async def _undeliverable(workflow_id: str) -> None:
    raise AssertionError(f"nobody knows the events of {workflow_id}")


@dataclass
class Harming(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Harms what is planned, in the workers of the client that it is given to.

    ``deliver_again`` hands a saga all its events once more.
    """

    plans: Path
    journal: Journal
    client: Client
    deliver_again: Callable[[str], Awaitable[None]] = field(default=_undeliverable)

    def __post_init__(self) -> None:
        found = [Planned(**plan) for plan in json.loads(self.plans.read_text())]
        done = {(line["key"], line["is_undo"]) for line in self.journal.read() if line["what"] == "harmed"}
        self.left = {(plan.key, plan.is_undo): plan for plan in found if (plan.key, plan.is_undo) not in done}
        self.begun = {(plan.key, plan.is_undo): plan for plan in found if (plan.key, plan.is_undo) in done}
        self.kills = sum(plan.harm.startswith("worker kill") for plan in self.left.values())
        self.kill_at: float | None = None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 the SDK's name
        return _Harmed(next, self)

    def note(self, plan: Planned) -> None:
        """Say that it was come to, once."""
        if self.left.pop((plan.key, plan.is_undo), None) is not None:
            self.begun[plan.key, plan.is_undo] = plan
            self.journal.write(what="harmed", key=plan.key, is_undo=plan.is_undo, harm=plan.harm, has_limit=_has_limit())

    def plan_of(self, request: StepRequest) -> tuple[Planned | None, bool]:
        """Find what is planned for a call, and whether it is to be done for the first time."""
        named = f"{request.key.rpartition('/')[0]}/{activity.info().activity_type}"
        for plans in (self.left, self.begun):
            for key in (request.key, named):
                if (plan := plans.get((key, request.is_undo))) is not None:
                    return plan, plans is self.left
        return None, False

    async def die(self) -> None:
        """Kill this process once every saga that is to die with it has come to its place, or after a while: never return."""
        self.kills -= 1
        self.kill_at = self.kill_at or time.monotonic() + _GATHER_SECONDS
        while self.kills and time.monotonic() < self.kill_at:
            await asyncio.sleep(0.05)
        self.journal.write(what="killed")
        os.kill(os.getpid(), signal.SIGKILL)


class _Harmed(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, harming: Harming) -> None:  # noqa: A002 the SDK's name
        super().__init__(next)
        self._harming = harming

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 the SDK's name
        request = input.args[0] if input.args else None
        if not isinstance(request, StepRequest):
            return await super().execute_activity(input)
        if activity.info().attempt == 1 and request.attempt == 0:
            name, items = activity.info().activity_type, len(request.commands)
            line = {"key": request.key, "is_undo": request.is_undo, "name": name, "items": items, "has_limit": _has_limit()}
            self._harming.journal.write(what="reached", **line)
        plan, is_first = self._harming.plan_of(request)
        if plan is None:
            return await super().execute_activity(input)
        self._harming.note(plan)
        return await self._harmed(plan, request, input, is_first=is_first)

    async def _harmed(self, plan: Planned, request: StepRequest, input: ExecuteActivityInput, *, is_first: bool) -> Any:  # noqa: A002
        match plan.harm:
            case "business refusal" if request.attempt == 0:
                # The last of a batch, so that others are done beside it.
                token = _refused.set(request.commands[-1])
                try:
                    return await super().execute_activity(input)
                finally:
                    _refused.reset(token)
            case "worker kill -9 before the effect" if is_first:
                await self._harming.die()
            case "worker kill -9 behind the effect" if is_first:
                await super().execute_activity(input)
                await self._harming.die()
            case "cancel" if is_first:
                await self._harming.client.get_workflow_handle(activity.info().workflow_id).cancel()
            case "double event" if is_first:
                await self._harming.deliver_again(activity.info().workflow_id)
            case "time-out":
                await self._time_out(request, input, is_first=is_first)
            case "late success":
                await self._late(plan, request, input, is_first=is_first)
        return await super().execute_activity(input)

    async def _time_out(self, request: StepRequest, input: ExecuteActivityInput, *, is_first: bool) -> None:  # noqa: A002
        """It takes effect, and never answers: in its time, where it has one, else in that of its first attempt."""
        if not self._was_parked(request) and _has_limit():
            await super().execute_activity(input)
            raise _no_answer()
        if is_first:
            await super().execute_activity(input)
            await asyncio.Event().wait()  # until Temporal calls the attempt over

    async def _late(self, plan: Planned, request: StepRequest, input: ExecuteActivityInput, *, is_first: bool) -> None:  # noqa: A002
        """The first attempt stays on its way until the saga has ended; by then the saga has given the step up."""
        was_parked = self._was_parked(request)
        if is_first:
            task = asyncio.create_task(self._once_it_has_ended(plan, input))
            self._harming.journal.write(what="on its way", key=plan.key)
            _on_their_way.add(task)
            task.add_done_callback(_on_their_way.discard)
            await asyncio.Event().wait()  # a zombie: Temporal calls the attempt over, and it goes on
        if request.is_undo or was_parked:
            return  # an undo is tried until it is done, and so is what a person wants
        if _has_limit():
            raise _no_answer()
        reason = "given up on purpose"
        raise ApplicationError(reason, type="given_up", non_retryable=True, category=ApplicationErrorCategory.BENIGN)

    async def _once_it_has_ended(self, plan: Planned, input: ExecuteActivityInput) -> None:  # noqa: A002
        handle = self._harming.client.get_workflow_handle(activity.info().workflow_id)
        while (await handle.describe()).close_time is None:
            await asyncio.sleep(0.2)
        try:
            reply: StepReply = await super().execute_activity(input)
            came_to = f"done {reply.done}"
        except ApplicationError as error:
            came_to = error.type or "failed"
        self._harming.journal.write(what="arrived late", key=plan.key, came_to=came_to)

    def _was_parked(self, request: StepRequest) -> bool:
        """True when a person had it tried again: then it is a new activity."""
        found = _activities.setdefault((request.key, request.is_undo), activity.info().activity_id)
        return found != activity.info().activity_id


_on_their_way: set[asyncio.Task[None]] = set()
_activities: dict[tuple[str, bool], str] = {}


def _has_limit() -> bool:
    limit = activity.info().schedule_to_close_timeout
    return limit is not None and 0 < limit.total_seconds() < _FOR_EVER_SECONDS


def _no_answer() -> ApplicationError:
    limit = activity.info().schedule_to_close_timeout or timedelta(seconds=_SILENT_ATTEMPTS)
    return ApplicationError("no answer, on purpose", next_retry_delay=limit / _SILENT_ATTEMPTS)


def refuse_on_purpose() -> None:
    """Let every aggregate of this process refuse what is planned: a refusal like any other, remembered under its key."""
    decide = Aggregate.decide

    def refusing(self: Aggregate, command: Command) -> tuple[Event, ...]:
        if (wanted := _refused.get()) is not None and command.model_dump(mode="json") == wanted:
            raise RefusedOnPurpose("refused on purpose")
        return decide(self, command)

    Aggregate.decide = refusing  # type: ignore[method-assign]
