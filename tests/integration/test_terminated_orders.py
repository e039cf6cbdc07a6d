"""An order whose saga was terminated by hand, at each of its steps, is found and ends right, either way (G4)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import Client

from aggregates.order import Order, OrderLine, PlaceOrder
from aggregates.payment import Payment
from aggregates.shipment import Shipment
from aggregates.stock import SeedStock, Stock
from sagakit.errors import InvalidInput
from sagakit.repository import Context
from sagakit.steps import SagaResult, Wish
from sagakit.system import System
from sagakit.temporal.executions import Executions
from tests.support.gatekeeper import Gatekeeper
from tests.support.running import running
from tests.support.waiting import until
from worker.rehearsals import NOON
from worker.services import SERVICES

STEPS = ("reserve_stock", "authorise_payment", "ship_order", "capture_payment", "complete_order")
BEHIND_PIVOT = ("capture_payment", "complete_order")


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running(SERVICES, tmp_path, client=client) as system:
        yield system


@pytest.mark.parametrize("way", ["resume", "compensate"])
@pytest.mark.parametrize("step", STEPS)
async def test_an_order_whose_saga_was_terminated_ends_right_g4(
    system: System, client: Client, step: str, way: Literal["resume", "compensate"]
) -> None:
    number, product = f"t{uuid.uuid4().hex[:8]}", f"p{uuid.uuid4().hex[:8]}"
    gate = Gatekeeper(step)
    for service in ("orders", "payments", "stock", "shipping"):
        gate.stand_before((await system.open(service)).repository)
    await system.send(SeedStock(product=product, quantity=10), Context())
    line = OrderLine(product=product, quantity=3, unit_price=Decimal("2.50"))
    await system.send(PlaceOrder(order_id=number, country="UK", placed_at=NOON, lines=(line,)), Context())
    await asyncio.wait_for(gate.reached.wait(), 20)

    executions, saga = Executions(client), f"order-fulfilment/{number}"
    await client.get_workflow_handle(saga).terminate("by mistake")
    await until(lambda: _is_lost(executions, saga), "the watch to find it")
    is_completed = way == "resume" or step in BEHIND_PIVOT
    if is_completed:
        gate.is_open.set()
    await executions.begin_anew(saga, way, Wish(actor="kim", reason="terminated by mistake"))
    result: SagaResult = await client.get_workflow_handle(saga, result_type=SagaResult).result()

    gate.is_open.set()  # of a saga that was compensated, the step on its way comes only now
    await asyncio.wait_for(gate.passed.wait(), 20)
    assert result.status == ("completed" if is_completed else "compensated")
    order, payment, shipment, stock = [await _load(system, *of) for of in _parts(number, product)]
    assert order.status == ("completed" if is_completed else "cancelled")
    assert payment.status in (("captured",) if is_completed else ("new", "voided"))
    assert shipment.exists is is_completed
    assert (stock.on_hand, stock.reserved) == ((7, {f"{number}/1": 3}) if is_completed else (10, {}))


async def _is_lost(executions: Executions, saga: str) -> bool:
    try:
        return any(found.workflow_id == saga for found in await executions.lost())
    except InvalidInput:
        return False


def _parts(number: str, product: str) -> list[tuple[str, Any, str]]:
    return [("orders", Order, number), ("payments", Payment, number), ("shipping", Shipment, number), ("stock", Stock, product)]


async def _load(system: System, service: str, aggregate: Any, aggregate_id: str) -> Any:
    return await (await system.open(service)).repository.load(aggregate, aggregate_id)
