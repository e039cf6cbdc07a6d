"""What stands around a rehearsed saga: tells it of events, answers it, decides what is parked, harms it where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from sagakit.messages import Event
from sagakit.steps import Answer, SagaResult, Verdict
from sagakit.temporal.faults import Fault
from sagakit.temporal.telling import arrived

Decided = Literal["retry", "skip", "complete"]
_LOOK_SECONDS = 0.05
_QUESTIONS, _ANSWER_WITHIN = 5, timedelta(seconds=5)
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

    With ``is_patient`` an event is told when it is waited for, else all are told as the saga begins.
    """

    handle: WorkflowHandle[Any, SagaResult]
    begin: Callable[[], Awaitable[object]]
    kill: Callable[[], None]
    letters: Sequence[Event]
    answers: list[str]
    verdict: Decided
    at_waits: Mapping[int, Fault]
    is_patient: bool
    at_once: frozenset[type[Event]]
    was_parked: bool = False
    is_over: bool = False
    came_to: set[object] = field(default_factory=set)
    _pending: dict[int, Event] = field(default_factory=dict)
    _late: list[int] = field(default_factory=list)
    _told: list[int] = field(default_factory=list)
    _waits: int = 0

    async def open(self, *, doubled: bool) -> None:
        """Begin the saga, and tell what is told at once."""
        await self.begin()
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
                await self._look()

    async def _look(self) -> None:
        shown = await shown_by(self.handle)
        for number in range(self._waits, len(shown["waited"])):
            self._waits = number + 1
            await self._waits_for(shown["waited"][number][1], self.at_waits.get(number))
        if shown["question"] and self.answers:
            answer = Answer(choice=self.answers[0], actor="rehearsal", reason="rehearsed")
            await self.handle.execute_update("answer_question", answer)
            del self.answers[0]
        for step in shown["steps"]:
            if step["state"].startswith("parked"):
                self.was_parked = True
                decided = Verdict(action=self.verdict, actor="rehearsal", reason="rehearsed", step=step["number"])
                await self.handle.execute_update("decide_parked_step", decided)

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
