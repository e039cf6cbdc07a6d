"""A saga under way on a stage, for a test to talk to while it runs."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.testing import TimeSkipper, TimeSkippingConfig
from temporalio.worker import Worker

from sagakit.saga import Saga
from sagakit.service import Service, ServiceMap
from sagakit.steps import Answer, Arrived, SagaResult, first_attributes
from sagakit.temporal.children import outcome_of_child
from sagakit.temporal.executions import Executions
from sagakit.temporal.participants import Fault, Participants
from sagakit.temporal.plugin import CommandRouting
from sagakit.temporal.sandbox import workflow_runner
from sagakit.temporal.stage import Stage
from tests.support.voyage import Embarked, Told
from tests.support.waiting import until

_ON_AND_ON = TimeSkippingConfig(max_session_skip_count=1_000_000)


@dataclass
class Sailing:
    """What a test asks and tells."""

    stage: Stage
    cast: Participants
    handle: WorkflowHandle[Any, SagaResult]
    voyage: str = "v"
    _numbers: itertools.count = field(default_factory=itertools.count)

    @property
    def executions(self) -> Executions:
        return Executions(self.stage.client)

    async def shown(self) -> dict[str, Any]:
        return await self.handle.query("steps")

    async def comes_to(self, status: str) -> None:
        async def is_there() -> bool:
            return (await self.shown())["status"] == status

        await until(is_there, status)

    async def tell(self, news: str, number: int | None = None) -> None:
        number = next(self._numbers) if number is None else number
        told = Told(voyage="v", news=news)
        arrived = Arrived(
            id=f"n{number}", type=told.event_name, schema_version=1, stream="s", version=number + 1, data=told.model_dump_json()
        )
        await self.handle.signal("sagakit_event", arrived)

    async def answer(self, choice: str) -> None:
        await self.executions.answer(self.handle.id, Answer(choice=choice, actor="kim", reason="r"))

    async def goes_on(self) -> None:
        """Chatter until the saga goes on in another run."""
        before = (await self.handle.describe()).run_id
        while (await self.handle.describe()).run_id == before:
            await self.tell("chatter")

    async def runs(self) -> list[Any]:
        """Every run's history, the oldest first."""
        found, run_id = [], None
        while True:
            history = await self.stage.client.get_workflow_handle(self.handle.id, run_id=run_id).fetch_history()
            found.insert(0, history)
            run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
            if not run_id:
                return found

    @property
    def effects(self) -> list[tuple[str, str]]:
        """What the steps did, in their order."""
        return [(call.fields["leg"].partition("-")[2], call.effect) for call in self.cast.calls if "leg" in call.fields]

    def done(self) -> list[str]:
        return [leg for leg, effect in self.effects if effect == "done"]

    def undone(self) -> list[str]:
        return [leg for leg, effect in self.effects if effect == "undone"]

    def require_each_once(self) -> None:
        assert max(Counter((call.key, call.effect) for call in self.cast.calls if call.effect != "refused").values()) == 1


@asynccontextmanager
async def sailing(
    stage: Stage,
    services: list[Service],
    saga: type[Saga],
    plan: str,
    faults: Mapping[int, Fault] | None = None,
    *,
    workflow_id: str = "",
    voyage: str = "",
    cancelled_at: int = 0,
) -> AsyncIterator[Sailing]:
    """Begin a saga with its worker, its time skipped on and on; cancel it while the step of this number is on its way."""
    voyage = voyage or uuid.uuid4().hex[:8]
    workflow_id = workflow_id or f"{saga.saga_name}/{voyage}"

    async def on_call(number: int) -> None:
        if number == cancelled_at:
            await stage.client.get_workflow_handle(workflow_id).cancel()

    cast = Participants(faults or {}, on_call)
    sagas = [saga for service in services for saga in service.sagas]
    async with Worker(
        stage.client,
        task_queue=workflow_id,
        workflows=sagas,
        activities=[*cast.activities(ServiceMap(services).registry.commands), outcome_of_child(stage.client)],
        interceptors=[CommandRouting(_OneQueue(workflow_id))],
        workflow_runner=workflow_runner(stage.client.data_converter, sagas),
    ):
        handle: WorkflowHandle[Any, SagaResult] = await TimeSkipper(stage.client, config=_ON_AND_ON).client.start_workflow(
            saga.__name__,
            Embarked(voyage=voyage, plan=plan),
            id=workflow_id,
            task_queue=workflow_id,
            result_type=SagaResult,
            static_summary="a voyage",
            memo={"correlation_id": "c-1", "event_id": "e-1", "hops": 3},
            search_attributes=first_attributes("c-1"),
        )
        async with asyncio.timeout(60):
            yield Sailing(stage, cast, stage.client.get_workflow_handle(handle.id, result_type=SagaResult), voyage)


@dataclass
class _OneQueue:
    queue: str

    def queue_of(self, _command: str) -> str | None:
        return self.queue

    def queue_of_saga(self, _workflow_type: str) -> str | None:
        return self.queue
