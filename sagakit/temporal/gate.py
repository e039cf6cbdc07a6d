"""Replays today's code over the sagas of a server: what a release would break is seen before it is deployed (G7)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin
from temporalio.converter import DataConverter
from temporalio.service import RPCError
from temporalio.worker import Replayer

from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.service import ServiceMap
from sagakit.steps import SAGA_STATUS
from sagakit.temporal import payloads
from sagakit.temporal.past import pinned_version
from sagakit.temporal.plugin import CommandRouting, require_replay_safe_tracing
from sagakit.temporal.sandbox import workflow_runner

_EVENT = re.compile(r"HistoryEvent\(id: (\d+), (\w+)\)")
_SAID = re.compile(r"\[TMPRL\d+\] ([^\"]*)")


@dataclass(frozen=True)
class Replayed:
    """One saga, replayed by today's code. ``why`` is empty when it takes the way it took.

    ``pinned_to`` is the build that an open saga ends on, where that is not today's: today's code never meets it.
    """

    workflow_id: str
    saga: str
    is_open: bool
    why: str
    pinned_to: str = ""

    @property
    def verdict(self) -> str:
        """Say what would become of it: *same*, *breaks* for an open one, *another path* for one that has ended, *pinned*."""
        if not self.why:
            return "same"
        return f"pinned to {self.pinned_to}" if self.pinned_to else "breaks" if self.is_open else "another path"


class Gate:
    """Replays histories with the sagas of a list of services."""

    def __init__(self, services: ServiceMap, converter: DataConverter = payloads.converter, build_id: str | None = None) -> None:
        """Take the services, what reads the histories' payloads, and the build that today's code is.

        Raises `InvalidInput` when none of the services has a saga.
        """
        if not any(service.sagas for service in services.services):
            raise InvalidInput("there is no saga in this list of services: nothing could be replayed")
        require_replay_safe_tracing()
        sagas = [saga for service in services.services for saga in service.sagas]
        self._build_id = build_id
        self._known = {saga.__name__ for saga in sagas}
        self._replayer = Replayer(
            workflows=sagas,
            workflow_runner=workflow_runner(converter, sagas),
            interceptors=[CommandRouting(services)],
            data_converter=converter,
            plugins=[OpenTelemetryPlugin()],
        )

    async def replay(self, history: WorkflowHistory, *, is_open: bool) -> Replayed:
        """Replay one history."""
        started = history.events[0].workflow_execution_started_event_attributes
        name = started.workflow_type.name
        if name not in self._known:
            why = "no saga of this name is in the list of services"
            return Replayed(history.workflow_id, name, is_open, why, self._pinned_to(history, is_open=is_open))
        result = await self._replayer.replay_workflow(history, raise_on_replay_failure=False)
        why = "" if result.replay_failure is None else _in_words(result.replay_failure)
        return Replayed(history.workflow_id, name, is_open, why, self._pinned_to(history, is_open=is_open))

    def _pinned_to(self, history: WorkflowHistory, *, is_open: bool) -> str:
        """Name the other build that an open saga is pinned to; empty where there is none."""
        build_id = pinned_version(history.events).build_id if is_open else ""
        return "" if build_id == self._build_id else build_id

    async def replay_all(self, client: Client, closed: int) -> AsyncIterator[Replayed]:
        """Replay every open saga of a namespace, and the newest ``closed`` that have ended. Raises `TemporalUnavailable`."""
        try:
            queries = (("ExecutionStatus = 'Running'", None), ("ExecutionStatus != 'Running'", closed))
            for condition, limit in queries:
                if limit == 0:
                    continue
                query = f"{SAGA_STATUS.name} is not null and {condition}"
                async for found in client.list_workflows(query, limit=limit):
                    history = await client.get_workflow_handle(found.id, run_id=found.run_id).fetch_history()
                    yield await self.replay(history, is_open=limit is None)
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal does not give the histories out: {error.message}") from error


def _in_words(failure: Exception) -> str:
    text = str(failure)
    said = _SAID.search(text)
    where = _EVENT.search(text)
    place = f"at event {where.group(1)}, {where.group(2)}: " if where else ""
    return place + (said.group(1) if said else text.splitlines()[0])
