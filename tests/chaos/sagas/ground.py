"""Where sagas are harmed: one list of services on real parts, its worker process, and whoever tells, answers and decides."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper

import worker.services
from sagakit.errors import ConcurrencyError, InfrastructureError, InvalidInput
from sagakit.hops import HopLimit
from sagakit.messages import Event, Metadata, RecordedEvent, new_event
from sagakit.ports import Append
from sagakit.repository import Context
from sagakit.service import Service, ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import Answer, Verdict
from sagakit.system import System
from sagakit.temporal.bridge import SagaStarter
from sagakit.temporal.executions import Executions
from sagakit.temporal.plugin import connect
from tests.chaos.sagas.run import KILL, Run
from tests.support import harmed_worker
from tests.support.harm import Journal, write_plans
from tests.support.harmed_worker import Job, aggregate_of
from tests.support.processes import wait_until

_LOOK_SECONDS = 0.3
_STILL_SECONDS = 90.0
_GATHER_SECONDS = 5.0
_ASK_SECONDS = 3
_TO_PASS = {"time-out": None, "late success": None, "business refusal": timedelta(days=30)}
Progress = Callable[[int], None]


@dataclass
class Ground:
    """Everything that runs for one list of services."""

    job: Job
    system: System
    client: Client
    journal: Journal
    process: BaseProcess | None = None
    kills: int = 0
    ended_alone: int = 0
    harmed: set[tuple[str, bool]] = field(default_factory=set)
    hurrying: list[asyncio.Task[Any]] = field(default_factory=list)
    _kill_at: float | None = None

    @classmethod
    @asynccontextmanager
    async def of(
        cls, services: str, folder: Path, settings: dict[str, Any], *, is_unfenced: bool = False
    ) -> AsyncIterator[Ground]:
        """Open the databases of a list of services; ``settings`` name the servers."""
        folder.mkdir(parents=True, exist_ok=True)
        listed = ServiceMap(getattr(worker.services, services))
        async with System(load_settings(**settings), listed) as system:
            for name in listed.with_a_log():
                await system.open(name)
            client = await connect(settings["temporal_address"], "default")
            job = Job(services, settings, folder / "plans", folder, is_unfenced)
            ground = cls(job, system, client, Journal(job.journal))
            try:
                yield ground
            finally:
                await ground.stop_worker()

    async def start_worker(self, runs: Sequence[Run]) -> None:
        """Start a worker process that harms these runs, in place of the one that runs."""
        await self.stop_worker()
        write_plans(self.job.plans, [plan for run in runs for plan in run.plans])
        self.process = harmed_worker.start(self.job)
        await asyncio.to_thread(wait_until, self.job.ready.exists, 60, "the worker")

    async def stop_worker(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await asyncio.to_thread(self.process.join, 30)
            self.process.kill()
            self.process = None

    async def given(self, runs: Sequence[Run]) -> None:
        """Have the services handle what the sagas rely on, once."""
        commands = {repr(command): command for run in runs for command in run.given}
        for name, command in commands.items():
            outcome = await self.system.send(command, Context(key=f"given/{name}"[:500]))
            assert outcome.status == "done", f"{name}: {outcome.reason}"

    async def begin(self, run: Run) -> None:
        """Let a saga's first event happen."""
        await self.happens(run.event, run.key)

    async def tell(self, run: Run, event: Event) -> RecordedEvent | None:
        """Let happen what a saga is told of: by its command, where that is known, which the service may answer otherwise."""
        command = run.told_by(event)
        if command is None:
            return await self.happens(event, run.key)
        await self.system.send(command, Context(key=f"told/{run.key}/{event.event_name}"))
        service, aggregate = self.system.services.owner_of(type(command))
        stream = aggregate.stream_of(command.aggregate_id)
        recorded = await (await self.system.open(service.name)).store.load(stream)
        return next((each for each in reversed(recorded) if each.type == event.event_name), None)

    async def happens(self, event: Event, key: str) -> RecordedEvent:
        """Append an event to the log of the service that records such ones."""
        service = self.system.services.producer_of(type(event))
        assert isinstance(service, Service), f"{event.event_name} is of a foreign service"
        stream = aggregate_of(service, type(event)).stream_of(key)
        store = (await self.system.open(service.name)).store
        envelope = new_event(event, Metadata(correlation_id=key))
        while True:
            version = len(await store.load(stream))
            with suppress(ConcurrencyError):
                await store.append(Append(stream, version, (envelope,)))
                return (await store.load(stream, version))[0]

    async def to_their_ends(self, runs: Sequence[Run], progress: Progress) -> None:
        """Tell, answer, decide, let time pass, replace who was killed: until all have ended, or nothing moves any more."""
        by_id = {run.workflow_id: run for run in runs}
        seen, moved_at = (0, 0), time.monotonic()
        while any(not run.has_ended for run in runs) and time.monotonic() - moved_at < _STILL_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._replace_the_killed()
            with suppress(InfrastructureError):
                newest = dict(by_id)
                async for found in Executions(self.client).listed(None):
                    # The newest run of a saga comes first; those before it only say that it went on.
                    if (run := newest.pop(found.workflow_id, None)) is not None:
                        run.status = found.status or "" if found.closed or found.status == "parked" else "running"
            self._hurry(runs)
            open_ = [run for run in runs if not run.has_ended]
            await asyncio.gather(*(self._attend(run) for run in open_ if run.status == "parked" or run.is_to_be_watched()))
            self._kill_where_they_wait(open_)
            progress(len(runs) - len(open_))
            if (now := (len(open_), len(self.journal.read()))) != seen:
                seen, moved_at = now, time.monotonic()
        for run in runs:
            for event in run.withheld:
                await self.tell(run, event)
        await self._until_late_calls_have_arrived()
        for task in self.hurrying:
            task.cancel()
        await asyncio.gather(*self.hurrying, return_exceptions=True)

    async def _replace_the_killed(self) -> None:
        if self.process is not None and self.process.exitcode is not None:
            is_killed = self.process.exitcode == -signal.SIGKILL
            self.kills, self.ended_alone = self.kills + is_killed, self.ended_alone + (not is_killed)
            self.process = harmed_worker.start(self.job)
            await asyncio.to_thread(wait_until, self.job.ready.exists, 60, "the next worker")

    def _hurry(self, runs: Sequence[Run]) -> None:
        """Let the time of a saga pass that is where it has to run out: until then each second is a second."""
        for line in self.journal.read():
            if line["what"] == "harmed" and (place := (line["key"], line["is_undo"])) not in self.harmed:
                self.harmed.add(place)
                run = next((run for run in runs if run.key in line["key"]), None)
                if run is not None and line["harm"] in _TO_PASS and (line["has_limit"] or _TO_PASS[line["harm"]]):
                    self._let_pass(run, _TO_PASS[line["harm"]])

    def _let_pass(self, run: Run, duration: timedelta | None = None) -> None:
        handle = self.client.get_workflow_handle(run.workflow_id)
        passing = TimeSkipper(self.client).fast_forward(handle, duration or run.rehearsal.saga.patience + timedelta(seconds=5))
        self.hurrying.append(asyncio.create_task(passing))

    async def _attend(self, run: Run) -> None:
        """Tell one saga what it waits for, answer it, and decide where it is parked."""
        handle = self.client.get_workflow_handle(run.workflow_id)
        with suppress(RPCError, InfrastructureError, InvalidInput, WorkflowUpdateFailedError):
            shown = run.shown = dict(await handle.query("steps", rpc_timeout=timedelta(seconds=_ASK_SECONDS)))
            for place in range(run.waits_seen, len(shown["waited"])):
                pending = list(run.pending)
                try:
                    await self._waits(run, shown["waited"][place][1], is_harmed=run.wait == place)
                except BaseException:
                    run.pending = pending  # what could not be told is told at the next look
                    raise
                run.waits_seen = place + 1
            if run.withheld and (len(shown["steps"]) > run.steps_at_wait or shown["status"] == "compensating"):
                await self.tell(run, run.withheld.pop())
            if shown["question"] and run.answers and not (run.is_ready_to_kill or self._is_kept_waiting(run)):
                answer = Answer(choice=run.answers[0], actor="somebody", reason="asked")
                await Executions(self.client).answer(run.workflow_id, answer)
                del run.answers[0]
            for step in shown["steps"]:
                if step["state"].startswith("parked"):
                    run.was_parked = True
                    verdict = Verdict(action="retry", actor="operator", reason="the harm is over", step=step["number"])
                    await Executions(self.client).decide(run.workflow_id, verdict)

    def _is_kept_waiting(self, run: Run) -> bool:
        return run.was_harmed and run.wait is not None and run.harm in ("time-out", "late success", "cancel")

    async def _waits(self, run: Run, what: str, *, is_harmed: bool) -> None:
        """Tell a saga what it waits for, unless that is what is to go wrong."""
        event = next((event for event in run.pending if what == f"`{event.event_name}`"), None)
        if event is not None:
            run.pending.remove(event)
        if is_harmed:
            run.was_harmed, run.steps_at_wait = True, len(run.shown["steps"])
        harm = run.harm if is_harmed else ""
        if harm == KILL:
            run.is_ready_to_kill = True
            run.pending[:0] = [event] if event is not None else []
            return
        if harm == "cancel":
            await self.client.get_workflow_handle(run.workflow_id).cancel()
        if harm in ("time-out", "late success"):
            self._let_pass(run, timedelta(days=30))
            run.withheld += [event] if event is not None and harm == "late success" else []
            return
        if event is not None:
            recorded = await self.tell(run, event)
            if harm == "double event" and recorded is not None:
                await self._hand_over(run, recorded)
                await self._hand_over(run, recorded)

    async def _hand_over(self, run: Run, recorded: RecordedEvent) -> None:
        """Hand an event to a saga as the bridge does, past the inbox that knows of the first time."""
        saga, services = run.rehearsal.saga, self.system.services
        service = next(service for service in services.services if saga in service.sagas)
        await SagaStarter(self.client, saga, services.registry, service.name, HopLimit(services, 16))(recorded)

    def _kill_where_they_wait(self, runs: Sequence[Run]) -> None:
        """Kill the worker once all the sagas wait that are to lose it while they do, or after a while; then they go on."""
        ready = [run for run in runs if run.is_ready_to_kill]
        missing = any(run.wait is not None and run.harm == KILL and not run.was_harmed for run in runs)
        if ready and self.process is not None:
            self._kill_at = self._kill_at or time.monotonic() + _GATHER_SECONDS
            if not missing or time.monotonic() > self._kill_at:
                self._kill_at = None
                self.process.kill()
                self.process.join()
                for run in ready:
                    run.is_ready_to_kill, run.waits_seen = False, run.waits_seen - 1
                    run.wait = -1  # it was done; what is waited for is told when it is seen to wait again

    async def _until_late_calls_have_arrived(self) -> None:
        deadline = time.monotonic() + _STILL_SECONDS
        while time.monotonic() < deadline:
            lines = self.journal.read()
            if sum(line["what"] == "on its way" for line in lines) == sum(line["what"] == "arrived late" for line in lines):
                return
            await asyncio.sleep(_LOOK_SECONDS)
