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
    """Answer whether stock, money, returns and read models agree with the events."""
    return {
        "stock": _stock(facts),
        "money": _money(facts),
        "returns": _returns(facts),
        "read_models": await _read_models(system, facts),
    }


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
    fields |= {f"payment.{what}": "amount" for what in ("authorised", "voided", "captured", "refunded")}
    for fact in facts:
        if fact.type in fields:
            sums[fact.type] += Decimal(fact.data[fields[fact.type]])
    is_square = sums["payment.captured"] - sums["payment.refunded"] == sums["order.completed"] - sums["return.closed"]
    return is_square and sums["payment.authorised"] == sums["payment.captured"] + sums["payment.voided"]


def _returns(facts: list[Fact]) -> bool:
    """Check that of no order more was taken back than was shipped, and no more paid back than was taken for it."""
    left: dict[tuple[str, str], int] = defaultdict(int)
    paid: dict[str, Decimal] = defaultdict(Decimal)
    order_of = {fact.data["return_id"]: fact.data.get("order_id", "") for fact in facts if fact.type == "return.opened"}
    for fact in facts:
        data = fact.data
        if fact.type == "shipment.shipped":
            for line in data["lines"]:
                left[data["order_id"], line["product"]] += line["quantity"]
        elif fact.type == "return.closed" and (order := order_of[data["return_id"]]):
            for line in data["lines"]:
                left[order, line["product"]] -= line["quantity"]
        elif fact.type == "payment.captured":
            paid[data["payment_id"]] += Decimal(data["amount"])
        elif fact.type == "payment.refunded" and data.get("of_payment"):
            paid[data["of_payment"]] -= Decimal(data["amount"])
    return all(units >= 0 for units in left.values()) and all(amount >= 0 for amount in paid.values())


async def _read_models(system: System, facts: list[Fact]) -> bool:
    """Compare every column of both read models."""
    async with (await system.open("orders")).tables.transaction() as session:
        summary = {row.document: row.model_dump() for row in (await session.exec(select(OrderSummaryRow))).all()}
    async with (await system.open("reporting")).tables.transaction() as session:
        sales = {row.product: row.model_dump() for row in (await session.exec(select(ProductSalesRow))).all()}
    return summary == _documents(facts) and sales == _sales(facts)


def _documents(facts: list[Fact]) -> dict[str, dict[str, Any]]:
    ends = {"order.completed": "completed", "order.cancelled": "cancelled"}
    ends |= {"return.closed": "returned", "return.refused": "refused"}
    documents: dict[str, dict[str, Any]] = {}
    for fact in facts:
        data = fact.data
        number = data.get("return_id" if fact.type.startswith("return.") else "order_id", "")
        if fact.type in ("order.placed", "return.opened"):
            documents[number] = {
                "document": number,
                "customer": data["customer"],
                "country": data["country"],
                "lines": len(data["lines"]),
                "total": Decimal(data["total"]) if fact.type == "order.placed" else -Decimal(data["refund"]),
                "status": "open",
                "reason": "",
                "placed_at": datetime.fromisoformat(data["placed_at"]).isoformat(sep=" ", timespec="minutes"),
                "ended_at": None,
            }
        # Orders and returns are in one log, so an end follows its beginning.
        if fact.type == "order.reduced":
            documents[number] |= {"lines": data["lines"], "total": Decimal(data["total"])}
        if fact.type in ends:
            reason = "delivery unconfirmed" if data.get("delivery") == "unconfirmed" else data.get("reason", "")
            documents[number] |= {"status": ends[fact.type], "reason": reason, "ended_at": fact.recorded_at}
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
