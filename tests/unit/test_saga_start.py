"""Which saga an upcast event starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sagakit import Event, Saga, upcasts
from sagakit.messages import Metadata, RecordedEvent, Registry, new_event
from sagakit.temporal.bridge import SagaStarter
from tests.support.shop import Added


class Ordered(Event, name="meal.ordered", version=2):
    table: str


class Tipped(Event, name="meal.tipped", version=1):
    pence: int


class Cook(Saga, starts_on=Ordered, key="table"):
    pass


@upcasts("meal.ordered", 1, into=[("meal.ordered", 2), ("meal.tipped", 1)])
def _per_table(fields: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    ordered: list[tuple[str, int, dict[str, Any]]] = [("meal.ordered", 2, {"table": table}) for table in fields["tables"]]
    return [*ordered, ("meal.tipped", 1, {"pence": 5})]


class RecordingClient:
    def __init__(self) -> None:
        self.started: list[tuple[str, Event]] = []

    async def start_workflow(self, _name: str, event: Event, *, id: str, **_options: Any) -> None:  # noqa: A002 the SDK's signature
        self.started.append((id, event))


async def test_a_saga_starts_on_the_parts_of_its_type() -> None:
    old = {"type": "meal.ordered", "schema_version": 1, "data": '{"tables": ["4", "5"]}'}
    stored = replace(new_event(Added(amount=1), Metadata(correlation_id="c")), **old)
    recorded = RecordedEvent.of(stored, service="kitchen", stream="meal-a", version=1, position=1, recorded_at=datetime.now(UTC))
    client = RecordingClient()
    registry = Registry([Ordered, Tipped], upcasters=[_per_table])
    await SagaStarter(client, Cook, registry, "kitchen")(recorded)  # type: ignore[arg-type]
    assert client.started == [("cook/4", Ordered(table="4")), ("cook/5", Ordered(table="5"))]
