"""The README's saga and read model run: in modules of their own, on a real Temporal server and SQLite."""

from __future__ import annotations

import importlib
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlmodel import select

from aggregates.order import Order, OrderLine, PlaceOrder
from aggregates.payment import Payment
from sagakit import Service
from sagakit.repository import Context
from sagakit.steps import SagaResult
from sagakit.temporal.plugin import connect
from tests.support.running import running
from tests.support.waiting import until

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_its_saga_and_its_read_model_do_what_they_say(
    tmp_path: Path, fresh_temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, saga, read_model = BLOCKS
    (tmp_path / "readme_saga.py").write_text(saga)
    (tmp_path / "readme_read_model.py").write_text(read_model)
    monkeypatch.syspath_prepend(str(tmp_path))
    take_money = importlib.import_module("readme_saga").TakeMoney
    per_country = importlib.import_module("readme_read_model")
    services = [
        Service("orders", aggregates=(Order,), projections=(per_country.OrdersPerCountry,), sagas=(take_money,)),
        Service("payments", aggregates=(Payment,)),
    ]
    client = await connect(fresh_temporal, "default")
    async with running(services, tmp_path / "data", client=client) as system:
        for number, country in (("1", "France"), ("2", "France"), ("3", "Japan")):
            line = OrderLine(product="tea", quantity=2, unit_price=Decimal("2.50"))
            placed_at = datetime(2010, 12, 1, 8)  # noqa: DTZ001 a shop's own clock
            await system.send(PlaceOrder(order_id=number, country=country, placed_at=placed_at, lines=(line,)), Context())
        orders, payments = await system.open("orders"), await system.open("payments")

        async def counted() -> bool:
            async with orders.tables.transaction() as session:
                rows = (await session.exec(select(per_country.CountryRow))).all()
            return {row.country: row.orders for row in rows} == {"France": 2, "Japan": 1}

        async def captured() -> bool:
            events = await payments.store.load("payment-1")
            return [event.type for event in events] == ["payment.authorised", "payment.captured"]

        await until(counted, "the read model to count the orders")
        await until(captured, "the saga to take the money")
        handle = client.get_workflow_handle("take-money/1", result_type=SagaResult)
        assert (await handle.result()).status == "completed"
