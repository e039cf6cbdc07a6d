"""The books compare every column of the read models with the events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlmodel import select

from aggregates.order import CancelOrder, OrderLine, PlaceOrder
from aggregates.order_return import CloseReturn, OpenReturn, ReturnLine
from aggregates.shipment import ShipOrder, ShippedLine
from projections.order_summary import OrderSummary, OrderSummaryRow
from projections.product_sales import ProductSales, ProductSalesRow
from sagakit.log import read_to_head
from sagakit.messages import Command
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.deliveries import apply_or_park
from worker.invariants import _read_models, all_facts
from worker.services import SERVICES

AT, PRICE = datetime(2010, 12, 1, 8, 26), Decimal("999999999.99")  # noqa: DTZ001 an order file knows no zone
COMMANDS: list[Command] = [
    PlaceOrder(order_id="1", customer="7", country="France", placed_at=AT, lines=(OrderLine(product="a", quantity=2, unit_price=PRICE),)),
    CancelOrder(order_id="1", reason="no stock"),
    OpenReturn(return_id="C2", country="Norway", placed_at=AT, lines=(ReturnLine(product="a", quantity=1, unit_price=PRICE),)),
    CloseReturn(return_id="C2"),
    ShipOrder(order_id="3", country="Norway", lines=(ShippedLine(product="a", quantity=2, value=2 * PRICE),)),
]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
async def system(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[System]:
    """Five commands, and what they mean for both read models, without the loops."""
    url = "sqlite" if request.param == "sqlite" else f"{request.getfixturevalue('postgres_url')}/inv_{{service}}"
    services = ServiceMap(SERVICES)
    async with System(load_settings(data=tmp_path, database=url), services) as opened:
        for command in COMMANDS:
            await opened.send(command, Context())
        for producer, reader, projection in (
            ("orders", "orders", OrderSummary()), ("orders", "reporting", ProductSales()), ("shipping", "reporting", ProductSales())
        ):  # fmt: skip
            async with (await opened.open(reader)).tables.transaction() as session:
                async for event in read_to_head((await opened.open(producer)).store):
                    await apply_or_park(projection, services.registry, session, projection.name, event)
        yield opened
        for name, table in (("orders", OrderSummaryRow), ("reporting", ProductSalesRow)):
            async with (await opened.open(name)).tables.transaction() as session:
                await session.exec(delete(table))


async def test_every_column_counts(system: System) -> None:
    facts = await all_facts(system)
    assert await _read_models(system, facts)
    wrong = {
        OrderSummaryRow: {
            "customer": "8", "country": "Spain", "lines": 9, "total": PRICE, "status": "open", "reason": "why",
            "placed_at": "2010-12-01 08:27", "ended_at": datetime(2011, 1, 1, tzinfo=UTC),
        },
        ProductSalesRow: {"shipped_quantity": 5, "returned_quantity": 5, "revenue": Decimal("0.01")},
    }  # fmt: skip
    for table, columns in wrong.items():
        tables = (await system.open("orders" if table is OrderSummaryRow else "reporting")).tables
        for name, value in columns.items():
            column = getattr(table, name)
            key = table.document if table is OrderSummaryRow else table.product
            async with tables.transaction() as session:
                before = (await session.exec(select(column).where(key.in_(["C2", "a"])))).one()
                await session.exec(update(table).where(key.in_(["C2", "a"])).values({name: value}))
            assert not await _read_models(system, facts), f"{column} is not compared"
            async with tables.transaction() as session:
                await session.exec(update(table).where(key.in_(["C2", "a"])).values({name: before}))
            assert await _read_models(system, facts), f"{column} is as it was"
