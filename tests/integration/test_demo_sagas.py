"""Every saga of the demo, with every fault at every step, ends right: nothing half undone, nothing twice (G4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sagakit import Event, Saga
from sagakit.temporal.diagram import diagram_of
from sagakit.testing import Scenario, Stage, in_document, rehearsing
from worker.rehearsals import ORDER, RETURN
from worker.services import SERVICES
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/order-sagas.md"


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(SERVICES, temporal_binary) as stage:
        yield stage


async def test_every_failure_of_an_order_ends_right_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(OrderFulfilment, ORDER)
    ends = {(s.command, s.fault): s.played.status for s in scenarios}
    for command in ("reserve_stock", "authorise_payment"):
        assert ends[command, "refused"] == ends[command, "undo refused"] == ends[command, "cancelled"] == "compensated"
    assert ends["ship_order", "refused"] == "compensated"
    for command in ("ship_order", "capture_payment", "complete_order"):
        assert ends[command, "crash"] == ends[command, "late"] == ends[command, "silent"] == "completed"
    for scenario in scenarios:
        said = [call.command for call in scenario.played.calls if call.effect == "done"]
        assert ("cancel_order" in said) == (scenario.played.status == "compensated")
    await _is_drawn_as_it_is(stage, OrderFulfilment, ORDER, scenarios)
    print(f"{len(scenarios)} failures of order_fulfilment: {Counter(s.played.status for s in scenarios)}")


async def test_every_failure_of_a_return_ends_right_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(TakeReturn, RETURN)
    ends = {(s.command, s.fault): s.played.status for s in scenarios}
    assert ends.pop(("restock_product", "refused")) == "compensated", "refused at its pivot, nothing had been done"
    assert set(ends.values()) == {"completed"}
    await _is_drawn_as_it_is(stage, TakeReturn, RETURN, scenarios)


async def _is_drawn_as_it_is(stage: Stage, saga: type[Saga], event: Event, scenarios: list[Scenario]) -> None:
    """The diagram in the document is what these rehearsals show: `make diagrams` renews it."""
    drawing = diagram_of(event.event_name, await stage.play(saga, event), scenarios)
    text = DOCUMENT.read_text()
    assert in_document(text, saga.saga_name, drawing) == text
