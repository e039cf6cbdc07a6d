"""Checks the books: reads every stored event as plain JSON and does its own sums, sharing nothing with the import."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel import select

from projections.order_summary import OrderSummaryRow
from projections.product_sales import ProductSalesRow
from sagakit.log import read_to_head
from sagakit.system import System


@dataclass(frozen=True)
class Fact:
    """A stored event as plain JSON."""

    type: str
    data: dict[str, Any]
    recorded_at: datetime


async def all_facts(system: System) -> list[Fact]:
    """Read every event of every service."""
    return [
        Fact(event.type, json.loads(event.data), event.recorded_at)
        for name in system.services.with_a_log()
        async for event in read_to_head((await system.open(name)).store)
    ]


async def check(system: System, facts: list[Fact]) -> dict[str, bool]:
    """Answer whether stock, money and read models agree with the events."""
    return {"stock": _stock(facts), "money": _money(facts), "read_models": await _read_models(system, facts)}


def _stock(facts: list[Fact]) -> bool:
    """Check that initial + returned = on hand + shipped, per product, and never below zero on the way."""
    came: dict[str, int] = defaultdict(int)
    on_hand: dict[str, int] = defaultdict(int)
    shipped: dict[str, int] = defaultdict(int)
    signs = {"stock.seeded": 1, "stock.restocked": 1, "stock.reserved": -1, "stock.released": 1}
    for fact in facts:
        name, data = fact.type, fact.data
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
    for fact in facts:
        name, data = fact.type, fact.data
        if name.startswith("payment.") or name in fields:
            sums[name] += Decimal(data[fields.get(name, "amount")])
    is_square = sums["payment.captured"] - sums["payment.refunded"] == sums["order.completed"] - sums["return.closed"]
    return is_square and sums["payment.authorised"] == sums["payment.captured"] + sums["payment.voided"]


async def _read_models(system: System, facts: list[Fact]) -> bool:
    """Compare every column of both read models."""
    async with (await system.open("orders")).tables.transaction() as session:
        summary = {row.document: row.model_dump() for row in (await session.exec(select(OrderSummaryRow))).all()}
    async with (await system.open("reporting")).tables.transaction() as session:
        sales = {row.product: row.model_dump() for row in (await session.exec(select(ProductSalesRow))).all()}
    return summary == _documents(facts) and sales == _sales(facts)


def _documents(facts: list[Fact]) -> dict[str, dict[str, Any]]:
    ends = {"order.completed": "completed", "order.cancelled": "cancelled", "return.closed": "returned"}
    documents: dict[str, dict[str, Any]] = {}
    for fact in facts:
        data = fact.data
        number = data.get("order_id") or data.get("return_id") or ""
        if fact.type in ("order.placed", "return.opened"):
            documents[number] = {
                "document": number,
                "customer": data["customer"],
                "country": data["country"],
                "lines": len(data["lines"]),
                "total": Decimal(data["total"]) if fact.type == "order.placed" else -Decimal(data["refund"]),
                "status": "open",
                "reason": "",
                "placed_at": data["placed_at"].replace("T", " ")[:16],
                "ended_at": None,
            }
        # Orders and returns are in one log, so an end follows its beginning.
        if fact.type in ends:
            documents[number] |= {"status": ends[fact.type], "reason": data.get("reason", ""), "ended_at": fact.recorded_at}
    return documents


def _sales(facts: list[Fact]) -> dict[str, dict[str, Any]]:
    sales: dict[str, dict[str, Any]] = {}
    for fact in facts:
        if fact.type not in ("shipment.shipped", "return.closed"):
            continue
        for line in fact.data["lines"]:
            product, quantity = line["product"], line["quantity"]
            row = sales.setdefault(
                product, {"product": product, "shipped_quantity": 0, "returned_quantity": 0, "revenue": Decimal(0)}
            )
            if fact.type == "shipment.shipped":
                row["shipped_quantity"] += quantity
                row["revenue"] += Decimal(line["value"])
            else:
                row["returned_quantity"] += quantity
                row["revenue"] -= quantity * Decimal(line["unit_price"])
    return sales
