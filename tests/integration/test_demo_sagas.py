"""Every saga of the demo, with every fault at every step, ends right: nothing half undone, nothing twice (G4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from sagakit import Event, Saga
from sagakit.temporal.diagram import diagram_of
from sagakit.testing import Scenario, Stage, in_document, rehearsing
from worker.rehearsals import ORDER, RETURN, TRANSFER
from worker.services import BANK, SERVICES
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing((*SERVICES, *BANK), temporal_binary) as stage:
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
    await _is_drawn_as_it_is(stage, OrderFulfilment, ORDER, scenarios, "order-sagas.md")


async def test_every_failure_of_a_return_ends_right_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(TakeReturn, RETURN)
    ends = {(s.command, s.fault): s.played.status for s in scenarios}
    assert ends.pop(("restock_product", "refused")) == "compensated", "refused at its pivot, nothing had been done"
    assert set(ends.values()) == {"completed"}
    await _is_drawn_as_it_is(stage, TakeReturn, RETURN, scenarios, "order-sagas.md")


async def test_every_failure_of_a_transfer_leaves_the_money_in_one_place_g4(stage: Stage) -> None:
    scenarios = await stage.every_failure(MoneyTransfer, TRANSFER)
    ends = {(s.command, s.fault): s.played.status for s in scenarios}
    for fault in ("refused", "cancelled", "undo refused"):
        assert ends["debit_account", fault] == "compensated"
    assert ends["credit_wallet", "refused"] == "compensated"
    for command in ("credit_wallet", "complete_transfer"):
        assert ends[command, "crash"] == ends[command, "late"] == ends[command, "silent"] == "completed"
    for scenario in scenarios:
        effects = {(call.command, call.effect) for call in scenario.played.calls}
        has_arrived, is_back = ("credit_wallet", "done") in effects, ("refund_account", "undone") in effects
        was_taken = ("debit_account", "done") in effects
        assert was_taken == (has_arrived or is_back)
        assert not (has_arrived and is_back)
        assert (("reject_transfer", "done") in effects) == (scenario.played.status == "compensated")
    assert any(s.played.was_parked for s in scenarios)
    await _is_drawn_as_it_is(stage, MoneyTransfer, TRANSFER, scenarios, "money-transfer.md")


async def _is_drawn_as_it_is(stage: Stage, saga: type[Saga], event: Event, scenarios: Sequence[Scenario], document: str) -> None:
    """The diagram in the document is what these rehearsals show: `make diagrams` renews it."""
    drawing = diagram_of(event.event_name, await stage.play(saga, event), scenarios)
    text = (DOCS / document).read_text()
    assert in_document(text, saga.saga_name, drawing) == text
