"""What each saga is rehearsed with: an order and a return, small but whole. Diagrams, tests and recorded histories share it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from aggregates.order import OrderLine, OrderPlaced
from aggregates.order_return import ReturnLine, ReturnOpened
from sagakit.testing import Rehearsal
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRICE = Decimal("2.50")
ORDER = OrderPlaced(
    order_id="7",
    customer="c",
    country="United Kingdom",
    placed_at=NOON,
    lines=tuple(OrderLine(product=product, quantity=2, unit_price=PRICE) for product in ("a", "b")),
    total=4 * PRICE,
)
RETURN = ReturnOpened(
    return_id="C7",
    customer="c",
    country="United Kingdom",
    placed_at=NOON,
    lines=(ReturnLine(product="a", quantity=1, unit_price=PRICE),),
    refund=PRICE,
)
REHEARSALS = (Rehearsal(OrderFulfilment, ORDER), Rehearsal(TakeReturn, RETURN))
