"""One run of the bank test, from the first account to the last verdict about a parked transfer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from aggregates.account import ReopenAccount
from sagakit.errors import InfrastructureError, InvalidInput, SagakitError
from sagakit.messages import Command
from sagakit.repository import Context
from sagakit.steps import Verdict
from sagakit.system import System
from sagakit.temporal.executions import Executions
from worker.bank.course import Course
from worker.bank.crew import Crew, Torment
from worker.bank.plan import Plan

_OPEN_AT_MOST = 300
_SENT_TOGETHER = 32
_PAUSE_SECONDS = 0.05
_LOOK_FOR_PARKED_SECONDS = 2.0
_STILL_SECONDS = 180.0
_OPERATOR = "operator of demo bank"
_SAGA = "money-transfer"
Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


class Interrupted(SagakitError):
    """The bank test was stopped before every transfer had an outcome."""


@dataclass
class BankRun:
    """The plan, on its way. ``parked`` are the transfers that were found waiting for a person."""

    plan: Plan
    system: System
    crew: Crew
    client: Client
    course: Course
    stop: asyncio.Event
    progress: Progress
    say: Say
    parked: set[str] = field(default_factory=set)
    _seen: object = None
    _moved_at: float = field(default_factory=time.monotonic)
    _parked_at: float = 0.0

    async def to_its_end(self, torment: Torment | None) -> None:
        """Send every transfer, kill what is to be killed, and wait until each has ended or is parked, or nothing moves."""
        await self._send_all(self.plan.holders, "accounts")
        killing = [torment.of(self.crew, self.say)] if torment else []
        await self._beside(self.course.follow(self._has_ended), self._send_transfers(), *killing)

    async def decide_parked(self) -> None:
        """Do what an operator does about the parked ones: open the account again, and have the refund tried again."""
        if not self.parked:
            return
        for transfer in sorted(self.parked):
            source = next(wish.source for wish in self.plan.transfers if wish.transfer_id == transfer)
            if source.kind == "account":
                await self._send(ReopenAccount(account=source.id), f"reopen/{transfer}")
        self._moved_at = time.monotonic()
        await self._beside(self.course.follow(self._is_decided), self._retry_parked())

    async def _beside(self, main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
        """Run until the first is done; what goes on beside it is then ended, and what failed is raised."""
        leading, stopping = asyncio.create_task(main), asyncio.create_task(self.stop.wait())
        beside = [asyncio.create_task(other) for other in others]
        waiting: set[asyncio.Task[Any]] = {leading, stopping, *beside}
        try:
            while not leading.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if self.stop.is_set():
                    raise Interrupted(
                        "stopped while transfers are open; the next run in this folder goes on with them, beside its own"
                    )
                for task in done:
                    await task
        finally:
            for task in (leading, stopping, *beside):
                task.cancel()
            await asyncio.gather(leading, stopping, *beside, return_exceptions=True)

    async def _send_transfers(self) -> None:
        wanted, sent = self.plan.transfers, 0
        while sent < len(wanted):
            room = _OPEN_AT_MOST - (sent - len(self.course.ends) - len(self.parked))
            if room <= 0:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            group = wanted[sent : sent + min(room, _SENT_TOGETHER)]
            await asyncio.gather(*(self._send(wish, wish.transfer_id) for wish in group))
            sent += len(group)
            self.progress("requests", sent, len(wanted))

    async def _send_all(self, commands: tuple[Command, ...], name: str) -> None:
        for begin in range(0, len(commands), _SENT_TOGETHER):
            group = commands[begin : begin + _SENT_TOGETHER]
            await asyncio.gather(
                *(self._send(command, f"open/{command.command_name}/{command.aggregate_id}") for command in group)
            )
            self.progress(name, begin + len(group), len(commands))

    async def _send(self, command: Command, key: str) -> None:
        """Send a command until its outcome is known; the key makes it one."""
        while True:
            try:
                outcome = await self.system.send(command, Context(correlation_id=key, actor="demo bank", key=key))
            except InfrastructureError:
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if outcome.status != "done":
                raise InvalidInput(f"{command.command_name} {command.aggregate_id}: {outcome.reason}")
            return

    async def _has_ended(self) -> bool:
        if time.monotonic() - self._parked_at > _LOOK_FOR_PARKED_SECONDS:
            await self._look_for_parked()
        ends = len(self.course.ends.keys() | self.parked)
        self.progress("outcomes", ends, len(self.plan.transfers))
        return ends == len(self.plan.transfers) or not self._is_moving((ends, self.course.requested, self._cut))

    async def _is_decided(self) -> bool:
        return self.parked <= self.course.ends.keys() or not self._is_moving((len(self.course.ends), self._cut))

    @property
    def _cut(self) -> object:
        return self.course.samples[-1].cut if self.course.samples else None

    def _is_moving(self, seen: object) -> bool:
        if seen != self._seen:
            self._seen, self._moved_at = seen, time.monotonic()
        return time.monotonic() - self._moved_at < _STILL_SECONDS

    async def _look_for_parked(self) -> None:
        """Ask Temporal, which may be away; what ended since does not count."""
        found = {saga.workflow_id.partition("/")[2] async for saga in Executions(self.client).listed("parked")}
        ours = {transfer for transfer in found if transfer.startswith(f"{self.course.run}-")}
        self.parked = (self.parked | ours) - self.course.ends.keys()
        self._parked_at = time.monotonic()

    async def _retry_parked(self) -> None:
        executions = Executions(self.client)
        verdict = Verdict(action="retry", actor=_OPERATOR, reason="the account is open again")
        for transfer in sorted(self.parked):
            while transfer not in self.course.ends:
                # It may have ended since, or Temporal may still be on its way up.
                with suppress(InfrastructureError, InvalidInput):
                    await executions.decide(f"{_SAGA}/{transfer}", verdict)
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
