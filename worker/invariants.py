"""Checks the books: reads every stored event as plain JSON and does its own sums, sharing nothing with the import."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from typing import Any

from sqlmodel import select

from projections.order_summary import OrderSummaryRow
from projections.product_sales import ProductSalesRow
from sagakit.system import System

_PAGE = 500
Fact = tuple[str, dict[str, Any]]


async def all_facts(system: System) -> list[Fact]:
    """Read (type, data) of every event of every service."""
    facts: list[Fact] = []
    for service in system.services.services:
        if service.aggregates:
            reader = (await system.open(service.name)).store.reader(0)
            while page := await reader.read(_PAGE):
                facts += [(event.type, json.loads(event.data)) for event in page]
    return facts


async def check(system: System, facts: list[Fact]) -> dict[str, bool]:
    """Answer whether stock, money and read models agree with the events."""
    return {"stock": _stock(facts), "money": _money(facts), "read_models": await _read_models(system, facts)}


def _stock(facts: list[Fact]) -> bool:
    """Check that initial + returned = on hand + shipped, per product, and never below zero on the way."""
    came: dict[str, int] = defaultdict(int)
    on_hand: dict[str, int] = defaultdict(int)
    shipped: dict[str, int] = defaultdict(int)
    signs = {"stock.seeded": 1, "stock.restocked": 1, "stock.reserved": -1, "stock.released": 1}
    for name, data in facts:
        if name in signs:
            on_hand[data["product"]] += signs[name] * data["quantity"]
            if on_hand[data["product"]] < 0:
                return False
        if name in ("stock.seeded", "stock.restocked"):
            came[data["product"]] += data["quantity"]
        if name == "shipment.shipped":
            for line in data["lines"]:
                shipped[line["product"]] += line["quantity"]
    return all(came[product] == on_hand[product] + shipped[product] for product in came.keys() | on_hand.keys() | shipped.keys())


def _money(facts: list[Fact]) -> bool:
    """Check that captured - refunded = completed orders - returns, and that every other held amount is let go."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    fields = {"order.completed": "total", "return.closed": "refund"}
    for name, data in facts:
        if name.startswith("payment.") or name in fields:
            sums[name] += Decimal(data[fields.get(name, "amount")])
    is_square = sums["payment.captured"] - sums["payment.refunded"] == sums["order.completed"] - sums["return.closed"]
    return is_square and sums["payment.authorised"] == sums["payment.captured"] + sums["payment.voided"]


async def _read_models(system: System, facts: list[Fact]) -> bool:
    ends = {"order.completed": "completed", "order.cancelled": "cancelled", "return.closed": "returned"}
    documents: dict[str, tuple[str, Decimal, int]] = {}
    sales: dict[str, tuple[int, int, Decimal]] = {}
    for name, data in facts:
        number = data.get("order_id") or data.get("return_id") or ""
        if name in ("order.placed", "return.opened"):
            total = Decimal(data["total"]) if name == "order.placed" else -Decimal(data["refund"])
            documents[number] = ("open", total, len(data["lines"]))
        # Orders and returns are in one log, so an end follows its beginning.
        if name in ends:
            documents[number] = (ends[name], *documents[number][1:])
        if name in ("shipment.shipped", "return.closed"):
            for line in data["lines"]:
                out, back, revenue = sales.get(line["product"], (0, 0, Decimal(0)))
                if name == "shipment.shipped":
                    sales[line["product"]] = (out + line["quantity"], back, revenue + Decimal(line["value"]))
                else:
                    value = line["quantity"] * Decimal(line["unit_price"])
                    sales[line["product"]] = (out, back + line["quantity"], revenue - value)
    async with (await system.open("orders")).tables.transaction() as session:
        summary = {r.document: (r.status, r.total, r.lines) for r in (await session.exec(select(OrderSummaryRow))).all()}
    async with (await system.open("reporting")).tables.transaction() as session:
        product_sales = {
            r.product: (r.shipped_quantity, r.returned_quantity, r.revenue)
            for r in (await session.exec(select(ProductSalesRow))).all()
        }
    return summary == documents and product_sales == sales
