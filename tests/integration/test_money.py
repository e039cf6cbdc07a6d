"""Money in read models is exact and ordered as numbers are, at the extremes that an order file allows, on both databases."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError
from sqlmodel import Field, SQLModel, col, func, select

from aggregates.order_return import ReturnClosed, ReturnLine
from aggregates.shipment import OrderShipped, ShippedLine
from projections.product_sales import ProductSales, ProductSalesRow
from sagakit import Event
from sagakit.messages import Metadata, RecordedEvent, new_event
from sagakit.service import ServiceMap
from sagakit.sql.money import Money, _sortable
from sagakit.sql.tables import ParkedRow
from sagakit.system import OpenService
from tests.support.deliveries import apply_or_park
from tests.support.stores import open_counting
from worker.services import SERVICES

LARGEST = 999_999_999 * Decimal("999999999.99")


class PurseRow(SQLModel, table=True):
    __tablename__ = "purse"
    owner: str = Field(primary_key=True)
    amount: Decimal = Field(sa_type=Money)


@pytest.fixture(params=["sqlite", "postgres"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as counting:
        await counting.tables.create([PurseRow, ProductSalesRow])
        yield counting


AMOUNTS = [-600 * LARGEST, Decimal("-123456789012345678.91"), Decimal("-200.01"), Decimal(-200), Decimal("-0.01"),
           Decimal("0.00"), Decimal("0.01"), Decimal(9), Decimal("200.00"), Decimal("200.01"), Decimal("1000.00"), LARGEST,
           LARGEST + Decimal("0.01"), 600 * LARGEST]  # fmt: skip


async def _fill(opened: OpenService) -> None:
    async with opened.tables.transaction() as session:
        for amount in AMOUNTS:
            session.add(PurseRow(owner=uuid.uuid4().hex, amount=amount))


async def test_money_comes_back_as_it_went_in_and_in_order(opened: OpenService) -> None:
    await _fill(opened)
    async with opened.tables.transaction() as session:
        rows = (await session.exec(select(PurseRow).order_by(col(PurseRow.amount)))).all()
    assert [row.amount for row in rows] == AMOUNTS
    assert rows[2].model_dump(mode="json")["amount"] == "-200.01"
    assert rows[7].model_dump(mode="json")["amount"] == "9.00"


@pytest.mark.parametrize("bound", ["200", "-200", "0", "200.005", "-200.005", "-0.001", str(LARGEST), "1e40", "-1e40"])
async def test_conditions_compare_numbers(opened: OpenService, bound: str) -> None:
    await _fill(opened)
    limit, amount = Decimal(bound), col(PurseRow.amount)
    cases = {"gt": amount > limit, "ge": amount >= limit, "lt": amount < limit, "le": amount <= limit, "eq": amount == limit}
    for name, condition in cases.items():
        async with opened.tables.transaction() as session:
            found = (await session.exec(select(PurseRow.amount).where(condition).order_by(amount))).all()
        assert list(found) == [a for a in AMOUNTS if getattr(a, f"__{name}__")(limit)], name


@pytest.mark.parametrize("amount", [Decimal("0.005"), Decimal(10) ** 26, Decimal("NaN"), 0.1])
async def test_what_would_be_rounded_is_refused(opened: OpenService, amount: Decimal) -> None:
    with pytest.raises(StatementError, match=r"amount|decimals"):
        async with opened.tables.transaction() as session:
            session.add(PurseRow(owner="a", amount=amount))


async def test_sums_in_sqlite_are_refused_not_rounded(tmp_path: Path) -> None:
    async with open_counting(tmp_path, None) as counting:
        await counting.tables.create([PurseRow])
        await _fill(counting)
        with pytest.raises(TypeError, match="add up in Python"):
            async with counting.tables.transaction() as session:
                await session.exec(select(func.sum(PurseRow.amount)))
    with pytest.raises(TypeError, match="in Python"):
        col(PurseRow.amount) + 1


@given(st.decimals(-(10**25), 10**25, places=2), st.decimals(-(10**25), 10**25, places=4))
def test_the_text_sorts_as_the_amount_does(one: Decimal, other: Decimal) -> None:
    assert (one < other) == (_sortable(one) < _sortable(other))
    assert (one == other) == (_sortable(one) == _sortable(other))


async def test_product_sales_hold_the_largest_orders(opened: OpenService) -> None:
    quantity, price = 999_999_999, Decimal("999999999.99")
    shipped = OrderShipped(
        order_id="1", country="", lines=(ShippedLine(product="a", quantity=quantity, value=quantity * price),) * 300
    )
    returned = ReturnClosed(return_id="C1", lines=(ReturnLine(product="a", quantity=quantity, unit_price=price),), refund=price)
    registry = ServiceMap(SERVICES).registry
    for version, event in enumerate((shipped, shipped, returned), start=1):
        async with opened.tables.transaction() as session:
            await apply_or_park(ProductSales(), registry, session, "sales", _recorded(event, version))
    async with opened.tables.transaction() as session:
        assert (await session.exec(select(ParkedRow.reason))).all() == []
        row = (await session.exec(select(ProductSalesRow))).one()
    assert (row.shipped_quantity, row.returned_quantity, row.revenue) == (600 * quantity, quantity, 599 * quantity * price)


def _recorded(event: Event, version: int) -> RecordedEvent:
    envelope = new_event(event, Metadata(correlation_id="c"))
    return RecordedEvent.of(envelope, service="s", stream="s-1", version=version, position=version, recorded_at=datetime.now(UTC))
