"""What stands around a rehearsed saga: tells it of events, answers it, decides what is parked, harms it where it waits.

It looks at the saga first, and lets time pass only when there is nothing to say: a question is answered however long that takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from sagakit.messages import Event
from sagakit.steps import Answer, SagaResult, Verdict
from sagakit.temporal.faults import Fault
from sagakit.temporal.telling import Later, arrived
from sagakit.temporal.virtual_time import Idle, VirtualTime

Decided = Literal["retry", "skip", "complete"]
_LOOK_SECONDS = 0.05
_QUESTIONS, _ANSWER_WITHIN = 10, timedelta(seconds=2)
_LOST = (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED)


@dataclass
class Hands:
    """The worker of one rehearsal: where it is taken away, a new one that knows nothing goes on."""

    make: Callable[[], Worker]
    _is_taken: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self) -> None:
        """Take the worker away with all that it holds; what its activities were about to answer is lost."""
        self._is_taken.set()

    async def work(self) -> None:
        """Run one worker after the other, until cancelled."""
        while True:
            async with self.make():
                await self._is_taken.wait()
                self._is_taken.clear()


@dataclass
class Conductor:
    """Conducts one rehearsal. ``at_waits`` are faults by the number of the wait, from 0.

    With ``is_patient`` an event is told when it is waited for, else all are told as the saga begins. With ``is_prompt`` its time
    passes by itself once there is nothing left to say.
    """

    time: VirtualTime
    handle: WorkflowHandle[Any, SagaResult]
    begin: Callable[[], Awaitable[object]]
    kill: Callable[[], None]
    letters: Sequence[Event]
    later: list[Later]
    answers: list[str]
    verdict: Decided
    at_waits: Mapping[int, Fault]
    is_patient: bool
    is_prompt: bool
    at_once: frozenset[type[Event]]
    was_parked: bool = False
    is_over: bool = False
    came_to: set[object] = field(default_factory=set)
    _pending: dict[int, Event] = field(default_factory=dict)
    _late: list[int] = field(default_factory=list)
    _told: list[int] = field(default_factory=list)
    _waits: int = 0
    _told_later: int = 0
    _begun: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def open(self, *, doubled: bool) -> None:
        """Begin the saga, and tell what is told at once."""
        self.later.sort(key=lambda one: one.after)
        await self.begin()
        self._begun = datetime.now(UTC)
        self._pending = dict(enumerate(self.letters))
        for number, letter in list(self._pending.items()):
            if not self.is_patient or type(letter) in self.at_once:
                for _ in range(2 if doubled else 1):
                    await self._tell(number)

    async def at(self, fault: Fault | None) -> None:
        """Do the harm that is not a participant's: the saga has come to where it is to be done."""
        self.came_to.add(fault)
        await self._tell_late()
        what = (fault or "").removeprefix("undo ")
        if what == "cancelled":
            await self.handle.cancel()
        elif what == "double event":
            await self.begin()
            for number in list(self._told):
                await self._tell(number)
        elif what == "killed":
            # Once the effect is there: the participant waits for its own end.
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self.kill)

    async def conduct(self) -> None:
        """Go on until the saga has ended."""
        while not self.is_over:
            await asyncio.sleep(_LOOK_SECONDS)
            # It has ended; or it was decided and does not show it yet; or what was asked is lost with its worker.
            with suppress(RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError):
                # In this order: what begins after it was found idle is not skipped.
                idle = await self.time.idle(self.handle.id)
                if not await self._says_something():
                    await self._let_time_pass(idle)

    async def _says_something(self) -> bool:
        """Look at the saga, and tell it, answer it and decide for it. Returns whether there was anything to do."""
        shown = await shown_by(self.handle)
        waited = range(self._waits, len(shown["waited"]))
        for number in waited:
            self._waits = number + 1
            await self._waits_for(shown["waited"][number][1], self.at_waits.get(number))
        is_asked = bool(shown["question"] and self.answers)
        if is_asked:
            answer = Answer(choice=self.answers[0], actor="rehearsal", reason="rehearsed")
            await self.handle.execute_update("answer_question", answer)
            del self.answers[0]
        parked = [step["number"] for step in shown["steps"] if step["state"].startswith("parked")]
        for number in parked:
            self.was_parked = True
            decided = Verdict(action=self.verdict, actor="rehearsal", reason="rehearsed", step=number)
            await self.handle.execute_update("decide_parked_step", decided)
        return bool(waited) or is_asked or bool(parked)

    async def _let_time_pass(self, idle: Sequence[Idle]) -> None:
        for one in idle:
            due = self._next_later if one.workflow_id == self.handle.id else None
            if due is not None and due <= one.now:
                await self._tell_next_later()
            elif self.is_prompt and not self._has_more_to_say:
                await self.time.let_go(one)
            elif moments := [moment for moment in (one.wakes, due) if moment is not None]:
                await self.time.move(one, min(moments))

    @property
    def _has_more_to_say(self) -> bool:
        to_come = set(self.at_waits.values()) - self.came_to
        return bool(self._pending or self._late or self.answers or self.later or to_come)

    @property
    def _next_later(self) -> datetime | None:
        return self._begun + self.later[0].after if self.later else None

    async def _tell_next_later(self) -> None:
        await self.handle.signal("sagakit_event", arrived(self.later[0].event, self._told_later, "later"))
        del self.later[0]
        self._told_later += 1

    async def _waits_for(self, what: str, fault: Fault | None) -> None:
        if fault is not None:
            self.came_to.add(fault)
        number = next((n for n, letter in self._pending.items() if what == f"`{letter.event_name}`"), None)
        if fault == "wait cancelled":
            await self.handle.cancel()
        elif fault == "wait killed":
            self.kill()
        if number is None or fault == "wait lost":
            self._pending.pop(number if number is not None else -1, None)
        elif fault == "wait late":
            self._late.append(number)
        else:
            for _ in range(2 if fault == "wait doubled" else 1):
                await self._tell(number)

    async def _tell_late(self) -> None:
        while self._late:
            await self._tell(self._late.pop())

    async def _tell(self, number: int) -> None:
        letter = self._pending.pop(number, None) or self.letters[number]
        if number not in self._told:
            self._told.append(number)
        with suppress(RPCError):  # it has ended, as a real one may have
            await self.handle.signal("sagakit_event", arrived(letter, number, "told"))


async def shown_by(handle: WorkflowHandle[Any, SagaResult]) -> dict[str, Any]:
    """Ask a saga how it stands; again when the question was lost, as one beside another that was given up may be."""
    for _ in range(_QUESTIONS - 1):
        try:
            return dict(await handle.query("steps", rpc_timeout=_ANSWER_WITHIN))
        except RPCError as error:
            if error.status not in _LOST:
                raise
    return dict(await handle.query("steps", rpc_timeout=_ANSWER_WITHIN))
