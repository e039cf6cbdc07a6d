"""Services that are only played: every command is answered as a rehearsal wants, by the rules that real ones keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from sagakit.saga_journal import RECORD_DECISION, Decision
from sagakit.steps import NOT_DONE, StepReply, StepRequest
from sagakit.temporal.faults import FAULTS, Fault

__all__ = ["FAULTS", "Call", "Fault", "Participants"]

_NO_LIMIT_SECONDS = 365 * 24 * 3600
_SILENT_ATTEMPTS = 3
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Call:
    """A command that reached a participant, with what it did: *done*, *undone*, *refused*, *fenced* or *nothing*.

    ``was_done`` says of an undo that the saga knew its step to be done.
    """

    command: str
    key: str
    fields: dict[str, Any]
    is_undo: bool
    effect: str
    was_done: bool = False


async def _nobody(_: int) -> None:
    """Hear of nothing."""


@dataclass
class Participants:
    """Everything that a saga's steps reach. ``faults`` are by the number of the step.

    ``on_call`` hears of each new step, ``on_undo`` of each new undo, with the number of the step.
    """

    faults: Mapping[int, Fault]
    on_call: Callable[[int], Awaitable[None]]
    on_undo: Callable[[int], Awaitable[None]] = _nobody
    calls: list[Call] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    _order: dict[str, int] = field(default_factory=dict)
    _effects: dict[str, str] = field(default_factory=dict)
    _tries: dict[tuple[str, bool], int] = field(default_factory=dict)
    _lost: dict[str, tuple[str, StepRequest]] = field(default_factory=dict)

    def activities(self, commands: Iterable[str]) -> list[Callable[..., Any]]:
        """Make one activity for each command, and the one that records decisions."""

        @activity.defn(name=RECORD_DECISION)
        async def record(decision: Decision) -> None:
            self.decisions.append(decision)

        return [self._activity(name) for name in commands] + [record]

    def deliver_what_was_lost(self) -> None:
        """Let every call arrive that was lost on its way: long after whoever made it has given it up."""
        for name, request in self._lost.values():
            for i, fields in enumerate(request.commands):
                key = f"{request.key}/{i}"
                is_known = self._effects.get(key) in ("done", "undone")
                try:
                    self._do(name, key, fields, request)
                    effect = "nothing" if is_known else None
                except ApplicationError:
                    effect = "fenced"
                if effect is not None:
                    self.calls.append(Call(name, key, fields, is_undo=False, effect=effect))
        self._lost.clear()

    def _activity(self, name: str) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def handle(request: StepRequest) -> StepReply:
            return await self._handle(name, request)

        return handle

    async def _handle(self, name: str, request: StepRequest) -> StepReply:
        number = self._order.setdefault(request.key, len(self._order) + 1)
        tried = request.key, request.is_undo
        attempt = self._tries[tried] = self._tries.get(tried, 0) + 1
        fault = self._fault_of(number, is_undo=request.is_undo)
        if attempt == 1:
            await (self.on_undo if request.is_undo else self.on_call)(number)
        if fault == "crash" and attempt == 1:
            raise RuntimeError("rehearsed: it failed before it had an effect")
        if fault == "late success" and not self.decisions:
            self._lose(name, request, attempt)
        reply = self._take_effect(name, request, is_refused=fault == "refused" and request.attempt == 0)
        if fault == "late" and attempt == 1:
            raise RuntimeError("rehearsed: its answer is lost")
        if fault == "killed" and attempt == 1:
            await asyncio.Event().wait()  # it ends with the worker
        if fault == "silent" and not self.decisions and _is_to_be_silent(attempt):
            raise _no_answer()
        return reply

    def _fault_of(self, number: int, *, is_undo: bool) -> str | None:
        """Say what goes wrong with a step, or with its undo."""
        fault = self.faults.get(number, "")
        of_undo = fault.removeprefix("undo ")
        return (of_undo if is_undo == (of_undo != fault) else None) or None

    def _take_effect(self, name: str, request: StepRequest, *, is_refused: bool) -> StepReply:
        if request.is_undo:
            return self._undo(name, request, is_refused=is_refused)
        if is_refused:
            self.calls.append(Call(name, request.key, request.commands[0], is_undo=False, effect="refused"))
            raise _refusal("rehearsed: the business says no", "rehearsed")
        return StepReply(done=sum(self._do(name, f"{request.key}/{i}", f, request) for i, f in enumerate(request.commands)))

    def _lose(self, name: str, request: StepRequest, attempt: int) -> None:
        """Keep a call on its way until the saga gives it up: at the end of its time, or as its next attempt fails for good."""
        self._lost[request.key] = name, request
        if attempt == 1:
            raise RuntimeError("rehearsed: it is lost on its way")
        if _has_limit():
            raise _no_answer()
        raise _refusal("rehearsed: given up", "given_up")

    def _do(self, name: str, key: str, fields: dict[str, Any], request: StepRequest) -> bool:
        known = self._effects.get(key)
        if known in ("done", "undone"):
            return True
        if known == "fenced":
            raise _refusal("its undo came first", "fenced")
        if request.only_if_done:
            self._effects[key] = "fenced"
            raise _refusal("it had not been done", NOT_DONE)
        self._effects[key] = "done"
        self.calls.append(Call(name, key, fields, is_undo=False, effect="done"))
        return True

    def _undo(self, name: str, request: StepRequest, *, is_refused: bool) -> StepReply:
        if is_refused:
            self.calls.append(Call(name, request.key, request.commands[0], is_undo=True, effect="refused"))
            raise _refusal("rehearsed: it cannot be undone", "rehearsed")
        for i, fields in enumerate(request.commands):
            key = f"{request.key}/{i}"
            was_done = self._effects.get(key) == "done"
            self._effects[key] = "undone" if was_done or self._effects.get(key) == "undone" else "fenced"
            effect = "undone" if was_done else "nothing"
            self.calls.append(Call(name, key, fields, is_undo=True, effect=effect, was_done=request.was_done))
        return StepReply(done=len(request.commands))

    @property
    def standing(self) -> dict[str, str]:
        """How each command stands in the end, by its key: done, undone or fenced."""
        return dict(self._effects)


def _is_to_be_silent(attempt: int) -> bool:
    """Be silent for ever only where the saga gives the step a time; one that would be tried for ever answers in the end."""
    return attempt <= _SILENT_ATTEMPTS or _has_limit()


def _has_limit() -> bool:
    limit = activity.info().schedule_to_close_timeout
    return limit is not None and 0 < limit.total_seconds() < _NO_LIMIT_SECONDS


def _no_answer() -> ApplicationError:
    limit = activity.info().schedule_to_close_timeout or timedelta(seconds=_SILENT_ATTEMPTS)
    # A few attempts over the step's whole time, not hundreds.
    return ApplicationError("rehearsed: no answer ever comes", next_retry_delay=min(limit, _DAY) / _SILENT_ATTEMPTS)


def _refusal(reason: str, code: str) -> ApplicationError:
    return ApplicationError(reason, type=code, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
