"""The course of one saga: what was done, what would undo it, and how a step is sent until its fate is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from functools import cached_property
from random import Random
from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.calls import Calls
    from sagakit.carried import Entry
    from sagakit.desk import Desk
    from sagakit.errors import DomainError, InvalidInput, PayloadTooLarge, StepRefused, StepTimedOut
    from sagakit.fast_steps import FastSteps
    from sagakit.letterbox import Letterbox
    from sagakit.messages import Command
    from sagakit.rest import Rest
    from sagakit.saga_journal import RECORD_DECISION, Decision
    from sagakit.sending import request_of, send
    from sagakit.shielding import shielded
    from sagakit.step_table import StepTable
    from sagakit.steps import UNDOABLE, Kind, Recovery, Step, StepReply, StepRequest, Undo, Verdict

T = TypeVar("T")
BY_PERSON = "left to a person"
"""The state of a step whose undo a person skipped, or gave a result for."""


class ForcedEnd(Exception):
    """A person ended the saga as it stood."""

    def __init__(self, verdict: Verdict) -> None:
        """Carry who and why."""
        super().__init__(f"ended by {verdict.actor}: {verdict.reason}")


class Course:
    """What a saga keeps while it runs."""

    def __init__(self, name: str, patience: timedelta, run_events: int | None = None) -> None:
        """Begin with no step done."""
        self.name, self.patience = name, patience
        self.calls = Calls()
        self.table = StepTable(name)
        self.rest = Rest(self.calls, self.table, run_events)
        self.desk = Desk(self.table)
        self.letters = Letterbox(self.table)
        self.fast = FastSteps()
        self.stopping: asyncio.Task[None] | None = None
        self.undos: list[Undo] = []
        self.groups = 0
        self.decisions = 0
        self.is_after_pivot = False
        self.cancelled_by: str | None = None
        self.recovery: Recovery | None = None
        self.only_known = False
        self.is_stopped = False
        self.ending: str | None = None
        self.undone: set[int] = set()
        self.chapter = 1
        self.serves: Callable[[str], bool] = lambda _: True
        self.queue_of_saga: Callable[[str], str | None] = lambda _: None

    def look_back(self) -> None:
        """Do nothing new from here on: look up what was done, wait for nothing, and undo from the first step that was not done.

        So ends a run that is a recovery: what an earlier run did is known to it only once it has come past it.
        """
        self.only_known = self.letters.is_hurried = self.desk.is_hurried = True

    async def record(self, action: str, about: str, actor: str, reason: str) -> None:
        """Put what a person decided into the log of the saga's service."""
        self.decisions += 1
        info = workflow.info()
        decision = Decision(
            saga=info.workflow_id,
            run_id=info.run_id,
            number=self.decisions,
            action=action,
            about=about,
            actor=actor,
            reason=reason,
            correlation_id=str(workflow.memo().get("correlation_id", info.workflow_id)),
        )
        with self.rest.flying():
            await workflow.execute_activity(
                RECORD_DECISION,
                decision,
                start_to_close_timeout=timedelta(seconds=30),
                summary=f"{action} by {actor}"[:200],
            )

    @cached_property
    def random(self) -> Random:
        """Draw the same in every run of a chapter."""
        return Random(f"{workflow.info().workflow_id}/{self.chapter}")  # noqa: S311 no secret is drawn

    def group_of(self, call: Entry) -> int:
        """Give a group its number: that of an earlier run, or a new one."""
        if call.number is None:
            self.groups += 1
            call.number = self.groups
        return call.number

    def retold(self, call: Entry, step: Step) -> StepReply:
        """Tell what a step came to, now or in an earlier run. Raises what it raised."""
        failure = call.failure and call.failure[0]
        step.state = "done" if failure is None else "timed out" if failure == StepTimedOut.__name__ else "refused"
        told = self.calls.told(call)
        self.is_after_pivot = self.is_after_pivot or step.kind == "pivot"
        self.only_known = self.only_known and not (self.fast.is_stopping and self.is_after_pivot)
        self.require_no_cancellation(call)
        return StepReply.model_validate_json(told or "")

    def require_no_cancellation(self, call: Entry) -> None:
        """Raise the cancellation that came while a call could not be cut off; behind the pivot it is over."""
        if call.is_cancelled and not self.is_after_pivot:
            raise asyncio.CancelledError

    async def whole(self, work: Coroutine[Any, Any, T], call: Entry) -> T:
        """Finish a step whatever happens; a cancellation that came meanwhile goes before a failure that the author may catch."""
        try:
            return await shielded(work, call)
        except DomainError:
            self.require_no_cancellation(call)
            raise

    def is_at_rest(self) -> bool:
        """Tell whether all that the saga is about can be handed over to another run."""
        is_to_stop = self.cancelled_by is not None and not self.is_stopped and not self.is_after_pivot and self.ending is None
        is_stopping = self.stopping is not None and not self.stopping.done()
        return not is_stopping and not (is_to_stop and self.rest.next_state is None) and self.rest.is_reached()

    def kind_of(
        self, name: str, commands: Sequence[Command], undos: Sequence[Command], *, pivot: bool, group: int | None
    ) -> Kind:
        """Infer the kind of a step from how it is written. Raises `InvalidInput` for one that cannot be."""
        if self.is_after_pivot and (undos or pivot):
            raise InvalidInput(f"{name}: nothing compensable, and no second pivot, behind the pivot")
        if pivot and undos:
            raise InvalidInput(f"{name}: the pivot has no undo")
        if pivot:
            self.require_pivot(name, group)
        if undos and len(undos) != len(commands):
            raise InvalidInput(f"{name}: {len(commands)} commands, but {len(undos)} undo commands")
        for command in (*commands[:1], *undos[:1]):
            if not self.serves(command.command_name):
                raise InvalidInput(f"{name}: no service in the list of services handles {command.command_name}")
        return "pivot" if pivot else "retriable" if self.is_after_pivot else "compensable" if undos else "read-only"

    def require_pivot(self, name: str, group: int | None) -> None:
        """Raise `InvalidInput` where no pivot may stand."""
        if self.is_after_pivot:
            raise InvalidInput(f"{name}: nothing compensable, and no second pivot, behind the pivot")
        if group is not None:
            raise InvalidInput(f"{name}: the pivot has no step beside it")
        if self.is_undoable:
            raise InvalidInput(f"{name}: no pivot in a child that its parent may have to undo: begin the child with pivot=True")

    @property
    def is_undoable(self) -> bool:
        """Tell whether a parent may have this saga undone once it has ended."""
        return bool(workflow.memo().get(UNDOABLE))

    def looked_up(self, request: StepRequest) -> StepRequest:
        """Turn a request into one that does nothing new, where that is called for."""
        return request.model_copy(update={"only_if_done": True}) if self.only_known else request

    async def once(self, step: Step, command: Command, request: StepRequest, within: timedelta | None) -> StepReply:
        """Send a step whose refusal, or whose end of time, makes the saga compensate. Raises `StepRefused`, `StepTimedOut`."""
        await self.rest.turn()
        try:
            return await self._send(step, command, request, within)
        except (StepRefused, StepTimedOut, PayloadTooLarge) as failure:
            self.table.mark(step, "timed out" if isinstance(failure, StepTimedOut) else "refused")
            raise

    async def until_decided(self, step: Step, command: Command, request: StepRequest, within: timedelta) -> StepReply:
        """Send a step that has to succeed; a refusal, or the end of its time, parks the saga until a person decides.

        Only a pivot that is refused makes the saga compensate: it did not happen. One whose fate is unknown is parked, and so is
        one of several commands of which some took effect.
        """
        kept = self.desk.taken_up(step)
        if kept is None:
            await self.rest.turn()
        while True:
            if kept is not None:  # an earlier run had parked it
                why, attempt, kept = kept.why, kept.attempt, None
            else:
                try:
                    return await self._send(step, command, request, within)
                except (StepRefused, StepTimedOut, PayloadTooLarge) as failure:
                    if step.kind == "pivot" and not _may_have_happened(failure):
                        self.table.mark(step, "refused")
                        raise
                    # A refusal is remembered under its key; whether what timed out was done is not known, so it keeps its own.
                    why, attempt = failure.reason, request.attempt + (1 if isinstance(failure, StepRefused) else 0)
            verdict = await self.desk.decide(step, why, attempt)
            self.fast.hear()
            await self.record(verdict.action, f"step {step.number}, {step.name}", verdict.actor, verdict.reason)
            if verdict.action == "complete":
                raise ForcedEnd(verdict) from None
            if verdict.action in ("skip", "supply"):
                self.table.mark(step, BY_PERSON)
            if verdict.action == "skip":
                return StepReply(done=0)
            if verdict.action == "supply" and verdict.reply is not None:
                return verdict.reply
            request = request.model_copy(update={"attempt": attempt})
            self.table.mark(step, "running", attempts=step.attempts + 1)

    async def _send(self, step: Step, command: Command, request: StepRequest, within: timedelta | None) -> StepReply:
        with self.rest.flying():
            await self.rest.room_for(len(request.model_dump_json()))
            return await send(step, command, request, within, self.fast)

    async def compensate(self) -> None:
        """Undo in reverse, whatever happens, a group side by side; a refused undo parks the saga."""
        self.table.set_status("compensating")
        await self._undo_all(self.undos)

    async def undo_what_failed(self) -> None:
        """Undo the steps that failed, and that the saga went on without, where something of them took effect, or still may.

        What was done by another step after all stays: undoing the one would undo the other.
        """
        if self.ending is None:
            kept = [undo.commands for undo in self.undos if undo.step.state == "done"]
            await self._undo_all([undo for undo in self.undos if _may_still_happen(undo.step) and undo.commands not in kept])

    async def _undo_all(self, undos: Sequence[Undo]) -> None:
        for undo in undos:
            if undo.step.number in self.undone:
                self.table.mark(undo.step, "undone")
        # By number: the run that goes on comes past steps that went side by side in another order than the first did.
        left = sorted((u for u in undos if u.step.number not in self.undone), key=lambda undo: undo.step.number)
        while left:
            group = left[-1].step.group
            batch = [left.pop()]
            while group is not None and left and left[-1].step.group == group:
                batch.append(left.pop())
            await all_of([asyncio.create_task(self._undo(undo)) for undo in batch])

    async def _undo(self, undo: Undo) -> StepReply:
        if undo.by is not None:
            self.table.mark(undo.step, "being undone")
            await undo.by()
            self.undone.add(undo.step.number)
            self.table.mark(undo.step, "undone")
            return StepReply(done=1)
        request = request_of(self.name, undo.commands, undo.key).model_copy(
            update={"is_undo": True, "was_done": undo.step.state == "done"}
        )
        self.table.mark(undo.step, "being undone", attempts=1)
        reply = await self.until_decided(undo.step, undo.commands[0], request, self.patience)
        self.undone.add(undo.step.number)
        if undo.step.state != BY_PERSON:
            self.table.mark(undo.step, "undone")
        return reply


async def all_of(tasks: Sequence[asyncio.Task[StepReply]]) -> list[StepReply]:
    """Wait for all, whatever becomes of each; then raise the first failure, in the order they were given."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, StepReply)]


def _may_still_happen(step: Step) -> bool:
    """Tell whether a step that failed may have taken effect, or may yet: it was given up, or refused where it is of several."""
    return step.state == "timed out" or (step.state == "refused" and step.items > 1)


def _may_have_happened(failure: DomainError) -> bool:
    """Tell whether something of a failed step may have taken effect."""
    return isinstance(failure, StepTimedOut) or (isinstance(failure, StepRefused) and failure.done > 0)
