"""A voyage's saga under way on a real Temporal server, for a test to look at and to talk to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle

from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.steps import SagaResult
from sagakit.system import System
from sagakit.temporal.executions import Executions
from tests.support.voyage import Embark
from tests.support.waiting import until

DONE, UNDONE = ["booked"], ["booked", "unbooked"]


@dataclass
class UnderWay:
    """One saga under test."""

    id: str
    system: System
    client: Client
    saga: str = "voyage-saga"

    @property
    def workflow_id(self) -> str:
        return f"{self.saga}/{self.id}"

    @property
    def handle(self) -> WorkflowHandle[Any, SagaResult]:
        return self.client.get_workflow_handle(self.workflow_id, result_type=SagaResult)

    @property
    def executions(self) -> Executions:
        return Executions(self.client)

    async def legs(self) -> dict[str, list[str]]:
        reader, found = (await self.system.open("legs")).store.reader(0), dict[str, list[str]]()
        while page := await reader.read(500):
            for event in page:
                if event.aggregate_id.startswith(f"{self.id}-"):
                    found.setdefault(event.aggregate_id.removeprefix(f"{self.id}-"), []).append(event.type.removeprefix("leg."))
        return found

    async def stands(self, status: str) -> bool:
        try:
            return (await self.executions.look(self.workflow_id)).status == status
        except InvalidInput:
            return False

    async def decisions(self) -> list[tuple[str, str, str]]:
        events = await (await self.system.open("voyages")).store.load(f"sagakit_saga-{self.workflow_id}")
        decided = [self.system.services.registry.decode_all(event)[0] for event in events]
        return [(d.action, d.actor, d.reason) for d in decided]  # type: ignore[attr-defined]

    async def send(self, command: Any) -> None:
        assert (await self.system.send(command, Context())).status == "done"

    async def is_there(self) -> bool:
        try:
            await self.executions.look(self.workflow_id)
        except InvalidInput:
            return False
        return True

    async def has_booked(self) -> bool:
        return bool(await self.legs())


async def embark(system: System, client: Client, plan: str = "") -> UnderWay:
    """Begin one, and wait until its saga has begun."""
    voyage = UnderWay(uuid.uuid4().hex[:12], system, client)
    await voyage.send(Embark(voyage=voyage.id, plan=plan))
    await until(voyage.is_there, "the saga to begin")
    return voyage
