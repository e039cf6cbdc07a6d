"""The course of one saga: what was done, what would undo it, and how a step is sent until its fate is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.desk import Desk
    from sagakit.errors import InvalidInput, StepRefused, StepTimedOut
    from sagakit.letterbox import Letterbox
    from sagakit.messages import Command
    from sagakit.saga_journal import RECORD_DECISION, Decision
    from sagakit.sending import request_of, send
    from sagakit.step_table import StepTable
    from sagakit.steps import Kind, Recovery, Step, StepReply, StepRequest, Undo, Verdict


class ForcedEnd(Exception):
    """A person ended the saga as it stood."""

    def __init__(self, verdict: Verdict) -> None:
        """Carry who and why."""
        super().__init__(f"ended by {verdict.actor}: {verdict.reason}")


class Course:
    """What a saga keeps while it runs."""

    def __init__(self, name: str, patience: timedelta) -> None:
        """Begin with no step done."""
        self.name, self.patience = name, patience
        self.table = StepTable(name)
        self.desk = Desk(self.table)
        self.letters = Letterbox(self.table)
        self.undos: list[Undo] = []
        self.groups = 0
        self._decisions = 0
        self.is_after_pivot = False
        self.cancelled_by: str | None = None
        self.recovery: Recovery | None = None
        self.only_known = False
        self.serves: Callable[[str], bool] = lambda _: True

    def look_back(self) -> None:
        """Do nothing new from here on: look up what was done, wait for nothing, and undo from the first step that was not done.

        So ends a run that is a recovery: what an earlier run did is known to it only once it has come past it.
        """
        self.only_known = self.letters.is_hurried = self.desk.is_hurried = True

    async def record(self, action: str, about: str, actor: str, reason: str) -> None:
        """Put what a person decided into the log of the saga's service."""
        self._decisions += 1
        info = workflow.info()
        await workflow.execute_activity(
            RECORD_DECISION,
            Decision(
                saga=info.workflow_id,
                run_id=info.run_id,
                number=self._decisions,
                action=action,
                about=about,
                actor=actor,
                reason=reason,
                correlation_id=str(workflow.memo_value("correlation_id", info.workflow_id)),
            ),
            start_to_close_timeout=timedelta(seconds=30),
            summary=f"{action} by {actor}"[:200],
        )

    def kind_of(
        self, name: str, commands: Sequence[Command], undos: Sequence[Command], *, pivot: bool, group: int | None
    ) -> Kind:
        """Infer the kind of a step from how it is written. Raises `InvalidInput` for one that cannot be."""
        if self.is_after_pivot and (undos or pivot):
            raise InvalidInput(f"{name}: nothing compensable, and no second pivot, behind the pivot")
        if pivot and (undos or group is not None):
            raise InvalidInput(f"{name}: the pivot has no undo, and no step beside it")
        if undos and len(undos) != len(commands):
            raise InvalidInput(f"{name}: {len(commands)} commands, but {len(undos)} undo commands")
        for command in (*commands[:1], *undos[:1]):
            if not self.serves(command.command_name):
                raise InvalidInput(f"{name}: no service in the list of services handles {command.command_name}")
        return "pivot" if pivot else "retriable" if self.is_after_pivot else "compensable" if undos else "read-only"

    def looked_up(self, request: StepRequest) -> StepRequest:
        """Turn a request into one that does nothing new, where that is called for."""
        return request.model_copy(update={"only_if_done": True}) if self.only_known else request

    async def once(self, step: Step, command: Command, request: StepRequest, within: timedelta | None) -> StepReply:
        """Send a step whose refusal, or whose end of time, makes the saga compensate. Raises `StepRefused`, `StepTimedOut`."""
        try:
            return await send(command, request, within)
        except (StepRefused, StepTimedOut) as failure:
            self.table.mark(step, "refused" if isinstance(failure, StepRefused) else "timed out")
            raise

    async def until_decided(self, step: Step, command: Command, request: StepRequest, within: timedelta) -> StepReply:
        """Send a step that has to succeed; a refusal, or the end of its time, parks the saga until a person decides.

        Only a pivot that is refused makes the saga compensate: it did not happen. One whose fate is unknown is parked.
        """
        while True:
            try:
                return await send(command, request, within)
            except (StepRefused, StepTimedOut) as failure:
                if step.kind == "pivot" and isinstance(failure, StepRefused):
                    self.table.mark(step, "refused")
                    raise
                verdict = await self.desk.decide(step, failure.reason)
                await self.record(verdict.action, f"step {step.number}, {step.name}", verdict.actor, verdict.reason)
                if verdict.action == "complete":
                    raise ForcedEnd(verdict) from None
                if verdict.action == "skip":
                    return StepReply(done=0)
                if verdict.action == "supply" and verdict.reply is not None:
                    return verdict.reply
                # A refusal is remembered under its key; whether what timed out was done is not known, so it keeps its own.
                attempt = request.attempt + (1 if isinstance(failure, StepRefused) else 0)
                request = request.model_copy(update={"attempt": attempt})
                self.table.mark(step, "running", attempts=step.attempts + 1)

    async def compensate(self) -> None:
        """Undo in reverse, whatever happens, a group side by side; a refused undo parks the saga."""
        self.table.set_status("compensating")
        while self.undos:
            group = self.undos[-1].step.group
            batch = [self.undos.pop()]
            while group is not None and self.undos and self.undos[-1].step.group == group:
                batch.append(self.undos.pop())
            await all_of([asyncio.create_task(self._undo(undo)) for undo in batch])

    async def _undo(self, undo: Undo) -> StepReply:
        request = request_of(self.name, undo.commands, undo.key).model_copy(update={"is_undo": True})
        self.table.mark(undo.step, "being undone", attempts=1)
        reply = await self.until_decided(undo.step, undo.commands[0], request, self.patience)
        self.table.mark(undo.step, "undone")
        return reply


async def all_of(tasks: Sequence[asyncio.Task[StepReply]]) -> list[StepReply]:
    """Wait for all, whatever becomes of each; then raise the first failure, in the order they were given."""
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, StepReply)]
