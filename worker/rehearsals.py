"""What sagas are rehearsed with: small, but whole. Diagrams, tests and recorded histories share it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from aggregates.order import OrderLine, OrderPlaced
from aggregates.order_return import ReturnLine, ReturnOpened
from aggregates.subscription import SubscriptionBegun
from aggregates.transfer import Holder, TransferRequested
from sagakit.testing import Rehearsal
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn
from workflows.subscription_renewal import SubscriptionRenewal

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
TRANSFER = TransferRequested(
    transfer_id="t", source=Holder(kind="account", id="a"), target=Holder(kind="wallet", id="w"), pence=250
)
SUBSCRIPTION = SubscriptionBegun(subscription="s", card="k", pence=999, months=2, first_due=NOON)
REHEARSALS = (Rehearsal(OrderFulfilment, ORDER), Rehearsal(TakeReturn, RETURN))
BANK = (Rehearsal(MoneyTransfer, TRANSFER),)
RENEWALS = (Rehearsal(SubscriptionRenewal, SUBSCRIPTION),)
