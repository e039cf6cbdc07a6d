"""The whole conversation about one order is rebuilt from stored events alone: correlation, and causation to the root (G8)."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from temporalio.client import Client

from aggregates.order import OrderLine, PlaceOrder
from aggregates.stock import SeedStock
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.repository import Context
from sagakit.runtime import Runtime
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.steps import SagaResult
from sagakit.system import System
from sagakit.temporal.plugin import connect
from tests.support.waiting import until
from worker.services import SERVICES

COMPLETED = [
    "order.placed",
    "stock.reserved",
    "stock.reserved",
    "payment.authorised",
    "shipment.shipped",
    "payment.captured",
    "order.completed",
]
COMPENSATED = ["order.placed", "stock.reserved", "stock.reserved", "stock.released", "stock.released", "order.cancelled"]


async def _whole_log(system: System) -> list[RecordedEvent]:
    log: list[RecordedEvent] = []
    for service in system.services.services:
        log += [event async for event in read_to_head((await system.open(service.name)).store)]
    return sorted(log, key=lambda event: event.recorded_at)


async def _place(system: System, number: str, limit: str) -> None:
    lines = tuple(OrderLine(product=product, quantity=1, unit_price=Decimal("2.50")) for product in ("a", "b"))
    command = PlaceOrder(
        order_id=number,
        country="France",
        placed_at=datetime(2010, 12, 1, 8),  # noqa: DTZ001 the file has no zone
        lines=lines,
        payment_limit=Decimal(limit),
    )
    await system.send(command, Context(correlation_id=f"talk {number}", actor="kim", key=f"place {number}"))


@pytest.mark.parametrize(("limit", "expected"), [("100", COMPLETED), ("1", COMPENSATED)])
async def test_the_chain_of_an_order_is_in_its_events_g8(
    tmp_path: Path, fresh_temporal: str, limit: str, expected: list[str]
) -> None:
    client = await connect(fresh_temporal, "default")
    async with System(load_settings(data=tmp_path), ServiceMap(SERVICES)) as system:
        runtime = Runtime(system, client)
        await runtime.start()
        for product in ("a", "b"):
            await system.send(SeedStock(product=product, quantity=10), Context(actor="kim"))
        for number in ("1", "2"):  # a second conversation beside it, which must not be mixed up with it
            await _place(system, number, limit)
        for number in ("1", "2"):
            await _ended(client, number)
        await runtime.drain()
        log = await _whole_log(system)
    talk = [event for event in log if event.metadata.correlation_id == "talk 1"]
    assert sorted(event.type for event in talk) == sorted(expected)
    assert (talk[0].type, talk[-1].type) == (expected[0], expected[-1])
    by_id = {str(event.id): event for event in log}
    roots = [event for event in talk if str(event.metadata.causation_id) not in by_id]
    assert [(event.type, event.metadata.causation_id, event.metadata.actor) for event in roots] == [
        ("order.placed", "place 1", "kim")  # what is no event is the key of the command that a person sent
    ]
    for event in talk[1:]:
        cause = by_id[str(event.metadata.causation_id)]
        assert cause.id == roots[0].id, f"{event.type} of {event.stream}"
        assert cause.metadata.correlation_id == event.metadata.correlation_id
        assert event.metadata.actor == "saga order-fulfilment"
        assert event.metadata.command_key is not None
        assert event.metadata.command_key.startswith("order-fulfilment/1/")
    assert json.loads(roots[0].data)["order_id"] == "1"


async def _ended(client: Client, number: str) -> None:
    handle = client.get_workflow_handle(f"order-fulfilment/{number}", result_type=SagaResult)

    async def is_there() -> bool:
        return bool([found async for found in client.list_workflows(f"WorkflowId = 'order-fulfilment/{number}'")])

    await until(is_there, f"the saga of order {number}")
    await handle.result()
