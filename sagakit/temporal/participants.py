"""Services that are only played: every command is answered as a rehearsal wants, by the rules that real ones keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from sagakit.saga_journal import RECORD_DECISION, Decision
from sagakit.steps import NOT_DONE, StepReply, StepRequest

Fault = Literal["refused", "crash", "late", "silent", "undo refused", "cancelled"]
"""What goes wrong at a step.

*refused*: the business says no. *crash*: the first attempt fails before it has an effect. *late*: it takes effect, and its answer
is lost; the next attempt finds it done. *silent*: it takes effect and never answers, until a person has it tried again.
*undo refused*: its undo is refused at first. *cancelled*: the saga is cancelled while the step is on its way.
"""
FAULTS: tuple[Fault, ...] = get_args(Fault)
_NO_LIMIT_SECONDS = 365 * 24 * 3600
_SILENT_ATTEMPTS = 3
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Call:
    """A command that reached a participant, with what it did: *done*, *undone*, *refused*, *fenced* or *nothing*."""

    command: str
    key: str
    fields: dict[str, Any]
    is_undo: bool
    effect: str


@dataclass
class Participants:
    """Everything that a saga's steps reach. ``faults`` are by the number of the step; ``on_call`` hears of each new one."""

    faults: Mapping[int, Fault]
    on_call: Callable[[int], Awaitable[None]]
    calls: list[Call] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    _order: dict[str, int] = field(default_factory=dict)
    _effects: dict[str, str] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)

    def activities(self, commands: Iterable[str]) -> list[Callable[..., Any]]:
        """Make one activity for each command, and the one that records decisions."""

        @activity.defn(name=RECORD_DECISION)
        async def record(decision: Decision) -> None:
            self.decisions.append(decision)

        return [self._activity(name) for name in commands] + [record]

    def _activity(self, name: str) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def handle(request: StepRequest) -> StepReply:
            return await self._handle(name, request)

        return handle

    async def _handle(self, name: str, request: StepRequest) -> StepReply:
        is_new = request.key not in self._order
        number = self._order.setdefault(request.key, len(self._order) + 1)
        attempt = self._tries[request.key] = self._tries.get(request.key, 0) + 1
        fault = self.faults.get(number)
        if is_new:
            await self.on_call(number)
        if request.is_undo:
            return self._undo(name, request, is_refused=fault == "undo refused" and request.attempt == 0)
        if fault == "crash" and attempt == 1:
            raise RuntimeError("rehearsed: it failed before it had an effect")
        if fault == "refused" and request.attempt == 0:
            self.calls.append(Call(name, request.key, request.commands[0], is_undo=False, effect="refused"))
            raise _refusal("rehearsed: the business says no", "rehearsed")
        done = [self._do(name, f"{request.key}/{i}", fields, request) for i, fields in enumerate(request.commands)]
        if fault == "late" and attempt == 1:
            raise RuntimeError("rehearsed: its answer is lost")
        if fault == "silent" and not self.decisions and _is_to_be_silent(attempt):
            limit = activity.info().schedule_to_close_timeout or timedelta(seconds=_SILENT_ATTEMPTS)
            # A few attempts over the step's whole time, not hundreds.
            raise ApplicationError("rehearsed: no answer ever comes", next_retry_delay=min(limit, _DAY) / _SILENT_ATTEMPTS)
        return StepReply(done=sum(done))

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
            self.calls.append(Call(name, key, fields, is_undo=True, effect="undone" if was_done else "nothing"))
        return StepReply(done=len(request.commands))

    @property
    def standing(self) -> dict[str, str]:
        """How each command stands in the end, by its key: done, undone or fenced."""
        return dict(self._effects)


def _is_to_be_silent(attempt: int) -> bool:
    """Be silent for ever only where the saga gives the step a time; one that would be tried for ever answers in the end."""
    limit = activity.info().schedule_to_close_timeout
    return attempt <= _SILENT_ATTEMPTS or (limit is not None and 0 < limit.total_seconds() < _NO_LIMIT_SECONDS)


def _refusal(reason: str, code: str) -> ApplicationError:
    return ApplicationError(reason, type=code, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
