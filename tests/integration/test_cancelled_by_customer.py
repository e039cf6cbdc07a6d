"""A customer calls an order off at each of its steps: before the goods leave all is undone, behind it the wish is refused (G4).

The provider's ledger judges the money, the books judge the rest.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from aggregates.order import Order, OrderLine, PlaceOrder, RequestCancellation
from aggregates.order_return import OpenReturn, OrderReturn, ReturnLine
from aggregates.payment import Payment
from aggregates.shipment import ConfirmDelivery, Shipment
from aggregates.stock import SeedStock, Stock
from sagakit.log import read_to_head
from sagakit.messages import Command
from sagakit.outcome import CommandOutcome
from sagakit.repository import Context
from sagakit.steps import SagaResult
from sagakit.system import System
from tests.support.gatekeeper import Gatekeeper
from tests.support.running import running
from tests.support.waiting import until
from worker import invariants
from worker.provider.judge import faults_of, held_of
from worker.provider.ledger import Ledger
from worker.provider.provider import Provider
from worker.rehearsals import NOON, PRICE
from worker.services import SERVICES

UNDONE = ("reserve_stock", "request_payment", "answer_payment")
FINISHED = ("ship_order", "note_dispatch", "capture_payment", "complete_order")
LATE_ANSWER_SECONDS = 0.3


@pytest.fixture
async def system(tmp_path: Path, client: Client) -> AsyncIterator[System]:
    async with running(SERVICES, tmp_path, client=client) as system:
        yield system


@pytest.fixture
async def ledger(tmp_path: Path, system: System) -> AsyncIterator[Ledger]:
    """The book of a provider that works beside the services."""
    with Ledger(tmp_path / "ledger") as book:
        stop = asyncio.Event()
        provider = asyncio.create_task(Provider(system, book, timedelta(seconds=LATE_ANSWER_SECONDS)).run(stop))
        yield book
        stop.set()
        with suppress(asyncio.CancelledError):
            await provider
    assert faults_of(book.entries) == []
    assert held_of(book.entries) == {}, "whatever happens, in the end nothing is held that nobody takes"


async def _send(system: System, command: Command) -> CommandOutcome:
    return await system.send(command, Context(actor="kim"))


async def _placed(system: System, *, short: bool = False) -> tuple[str, str]:
    """Place an order of two lines, paid by the provider, whose delivery is awaited; of the second line nothing is there."""
    number, product = f"c{uuid.uuid4().hex[:8]}", f"p{uuid.uuid4().hex[:8]}"
    await _send(system, SeedStock(product=product, quantity=10))
    lines = [OrderLine(product=product, quantity=3, unit_price=PRICE)]
    if short:
        lines.append(OrderLine(product=f"{product}-gone", quantity=3, unit_price=PRICE))
    order = PlaceOrder(
        order_id=number, country="UK", placed_at=NOON, lines=tuple(lines),
        is_paid_by_provider=True, may_ship_in_part=short, awaits_delivery=True,
    )  # fmt: skip
    await _send(system, order)
    return number, product


async def _has_heard(client: Client, saga: str) -> bool:
    """Tell whether the customer's wish has reached the saga."""
    history = await client.get_workflow_handle(saga).fetch_history()
    signalled = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED]
    return any(b"order.cancellation_requested" in e.SerializeToString() for e in signalled)


async def _load(system: System, service: str, aggregate: Any, name: str) -> Any:
    return await (await system.open(service)).repository.load(aggregate, name)


async def _result(client: Client, number: str) -> SagaResult:
    found: SagaResult = await client.get_workflow_handle(f"order-fulfilment/{number}", result_type=SagaResult).result()
    return found


@pytest.mark.parametrize("step", [*UNDONE, *FINISHED])
async def test_a_customer_cancels_at_any_step_g4(system: System, client: Client, ledger: Ledger, step: str) -> None:
    gate = Gatekeeper(step)
    for service in ("orders", "payments", "stock", "shipping"):
        gate.stand_before((await system.open(service)).repository)
    number, product = await _placed(system)
    if step == "complete_order":
        await until(lambda: _is_shipped(system, number), "the goods to leave")
        await _send(system, ConfirmDelivery(order_id=number))
    await asyncio.wait_for(gate.reached.wait(), 20)

    wish = await _send(system, RequestCancellation(order_id=number, reason="bought elsewhere"))
    is_refused_at_once = step in ("capture_payment", "complete_order")
    assert (wish.status, wish.code) == (("refused", "too_late_to_cancel") if is_refused_at_once else ("done", None))
    if not is_refused_at_once:
        await until(lambda: _has_heard(client, f"order-fulfilment/{number}"), "the saga to hear of it")
    if step != "answer_payment":
        gate.is_open.set()
    if step in FINISHED and step != "complete_order":
        await until(lambda: _is_shipped(system, number), "the goods to leave")
        await _send(system, ConfirmDelivery(order_id=number))

    result = await _result(client, number)
    gate.is_open.set()  # an answer of the provider comes when all is undone
    await asyncio.wait_for(gate.passed.wait(), 20)
    is_finished = step in FINISHED
    assert result.status == ("completed" if is_finished else "compensated"), result
    order, payment = await _load(system, "orders", Order, number), await _load(system, "payments", Payment, number)
    stock, shipment = await _load(system, "stock", Stock, product), await _load(system, "shipping", Shipment, number)
    assert order.status == ("completed" if is_finished else "cancelled")
    assert not order.is_cancellation_wanted or not is_finished, "a wish that came too late has an answer"
    assert payment.status == ("captured" if is_finished else "new" if step == "reserve_stock" else "given up")
    assert (stock.on_hand, shipment.is_shipped) == ((7, True) if is_finished else (10, False))
    await until(lambda: _is_square(ledger), "the provider to let go of what it held")
    facts = await invariants.all_facts(system)
    assert invariants._money(facts)
    assert invariants._stock(facts)
    if step == "answer_payment":
        assert [entry.act for entry in ledger.entries] == ["authorise", "void"], "a late success is let go at the provider"
        assert "payment.answered_late" in [event.type async for event in read_to_head((await system.open("payments")).store)]


async def test_an_order_in_part_and_what_comes_back_of_it_g4(system: System, client: Client, ledger: Ledger) -> None:
    number, product = await _placed(system, short=True)
    await until(lambda: _is_shipped(system, number), "the goods to leave")
    assert await _sent_back(system, f"{number}-too-soon", product, 1, PRICE, number) == "refused"
    await _send(system, ConfirmDelivery(order_id=number))
    assert (await _result(client, number)).status == "completed"
    order, shipment = await _load(system, "orders", Order, number), await _load(system, "shipping", Shipment, number)
    assert (order.total, order.status, shipment.is_delivered) == (3 * PRICE, "completed", True)

    for name, quantity, price, goods, of_order, status in (
        ("ordered", 2, PRICE, product, number, "closed"),
        ("too-many", 2, PRICE, product, number, "refused"),
        ("too-dear", 1, 2 * PRICE, product, number, "refused"),
        ("never-shipped", 1, PRICE, f"{product}-gone", number, "refused"),
        ("never-ordered", 1, PRICE, product, f"{number}-unknown", "refused"),
        ("the-rest", 1, PRICE, product, number, "closed"),
        ("the-same", 1, PRICE, product, number, "refused"),
    ):
        assert await _sent_back(system, f"{number}-{name}", goods, quantity, price, of_order) == status, name
    assert await _reasons(system, number) == {
        f"{number}-too-soon": f"order {number} is open, not completed: nothing of it can come back",
        f"{number}-too-many": f"order {number} has 1 of product {product} at 2.50 left to come back, not 2",
        f"{number}-too-dear": f"order {number} has 0 of product {product} at 5.00 left to come back, not 1",
        f"{number}-never-shipped": f"order {number} has 0 of product {product}-gone at 2.50 left to come back, not 1",
        f"{number}-never-ordered": f"there is no order {number}-unknown: nothing of it can come back",
        f"{number}-the-same": f"order {number} has 0 of product {product} at 2.50 left to come back, not 1",
    }
    again = OpenReturn(return_id=f"{number}-ordered", country="UK", placed_at=NOON, lines=(_line(product, 2, PRICE),))
    twice = await _send(system, again)
    assert (twice.status, twice.code) == ("refused", "return_already_opened")
    await until(lambda: _has(ledger, 4), "the refunds")
    assert [(e.act, e.amount) for e in ledger.entries] == [
        ("authorise", 3 * PRICE), ("capture", 3 * PRICE), ("refund", 2 * PRICE), ("refund", PRICE)
    ]  # fmt: skip
    await until(lambda: _is_told_right(system), "the books to agree with the read models")
    assert (await _load(system, "stock", Stock, product)).on_hand == 10


def _line(product: str, quantity: int, price: Decimal) -> ReturnLine:
    return ReturnLine(product=product, quantity=quantity, unit_price=price)


async def _sent_back(system: System, name: str, product: str, quantity: int, price: Decimal, order: str) -> str:
    """Send goods of an order back; tell how their return ended."""
    lines = (_line(product, quantity, price),)
    await _send(system, OpenReturn(return_id=name, country="UK", placed_at=NOON, lines=lines, order_id=order))
    await until(lambda: _has_ended(system, name), f"{name} to end")
    return str((await _load(system, "orders", OrderReturn, name)).status)


async def _reasons(system: System, number: str) -> dict[str, str]:
    """Tell why each return of an order was refused."""
    events = [json.loads(e.data) async for e in read_to_head((await system.open("orders")).store) if e.type == "return.refused"]
    return {event["return_id"]: event["reason"] for event in events if event["return_id"].startswith(number)}


async def _is_shipped(system: System, number: str) -> bool:
    return bool((await _load(system, "shipping", Shipment, number)).is_shipped)


async def _has_ended(system: System, number: str) -> bool:
    return (await _load(system, "orders", OrderReturn, number)).status in ("closed", "refused")


async def _is_square(ledger: Ledger) -> bool:
    return not held_of(ledger.entries)


async def _is_told_right(system: System) -> bool:
    return all((await invariants.check(system, await invariants.all_facts(system))).values())


async def _has(ledger: Ledger, count: int) -> bool:
    return len(ledger.entries) == count
