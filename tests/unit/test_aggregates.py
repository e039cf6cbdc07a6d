"""Given events, when a command, then events or a refusal."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from aggregates.order import (
    CancelOrder,
    CompleteOrder,
    Order,
    OrderAlreadyPlaced,
    OrderCancelled,
    OrderCompleted,
    OrderLine,
    OrderNotOpen,
    OrderPlaced,
    PlaceOrder,
)  # fmt: skip
from aggregates.order_return import CloseReturn, OpenReturn, OrderReturn, ReturnClosed, ReturnLine, ReturnNotOpen
from aggregates.payment import (
    AuthorisePayment,
    CapturePayment,
    Payment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentDeclined,
    PaymentNotHeld,
    PaymentVoided,
    RefundPayment,
    VoidPayment,
)  # fmt: skip
from aggregates.shipment import AlreadyShipped, OrderShipped, Shipment, ShipOrder, ShippedLine
from aggregates.stock import (
    NotReserved,
    ReleaseStock,
    ReserveStock,
    RestockProduct,
    SeedStock,
    Stock,
    StockReleased,
    StockReserved,
    StockSeeded,
    StockTooLow,
)  # fmt: skip
from sagakit import Aggregate, Command, DomainError, Event
from sagakit.testing import given

AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 the documents know no zone
LINE = OrderLine(product="p", quantity=3, unit_price=Decimal("2.50"))
PLACE = PlaceOrder(order_id="1", country="France", placed_at=AT, lines=(LINE, LINE))
PLACED = OrderPlaced(order_id="1", customer="", country="France", placed_at=AT, lines=(LINE, LINE), total=Decimal("15.00"))
BACK = ReturnLine(product="p", quantity=1, unit_price=Decimal("2.50"))
HELD = PaymentAuthorised(payment_id="1", amount=Decimal(9))
SEEDED = StockSeeded(product="p", quantity=5)
RESERVED = StockReserved(product="p", order_id="1", line=1, quantity=4)
GOODS = (ShippedLine(product="p", quantity=1, value=Decimal(1)),)
SHIPPED = OrderShipped(order_id="1", country="France", lines=GOODS)


@pytest.mark.parametrize(
    ("aggregate", "past", "when", "then"),
    [
        (Order, [], PLACE, [PLACED]),
        (Order, [PLACED], PLACE, OrderAlreadyPlaced),
        (Order, [PLACED], CompleteOrder(order_id="1"), [OrderCompleted(order_id="1", total=Decimal("15.00"))]),
        (Order, [], CompleteOrder(order_id="1"), OrderNotOpen),
        (Order, [PLACED], CancelOrder(order_id="1", reason="r"), [OrderCancelled(order_id="1", reason="r")]),
        (Order, [PLACED, OrderCancelled(order_id="1", reason="r")], CompleteOrder(order_id="1"), OrderNotOpen),
        (OrderReturn, [], CloseReturn(return_id="C1"), ReturnNotOpen),
        (Payment, [], AuthorisePayment(payment_id="1", amount=Decimal(9)), [HELD]),
        (Payment, [], AuthorisePayment(payment_id="1", amount=Decimal(9), limit=Decimal(9)), [HELD]),
        (Payment, [], AuthorisePayment(payment_id="1", amount=Decimal(9), limit=Decimal("8.99")), PaymentDeclined),
        (Payment, [HELD], CapturePayment(payment_id="1"), [PaymentCaptured(payment_id="1", amount=Decimal(9))]),
        (Payment, [HELD], VoidPayment(payment_id="1"), [PaymentVoided(payment_id="1", amount=Decimal(9))]),
        (Payment, [HELD, PaymentVoided(payment_id="1", amount=Decimal(9))], CapturePayment(payment_id="1"), PaymentNotHeld),
        (Payment, [HELD], RefundPayment(payment_id="1", amount=Decimal(1)), DomainError),
        (Stock, [], SeedStock(product="p", quantity=5), [SEEDED]),
        (Stock, [SEEDED], SeedStock(product="p", quantity=7), []),
        (Stock, [SEEDED], ReserveStock(product="p", order_id="1", line=1, quantity=4), [RESERVED]),
        (Stock, [SEEDED, RESERVED], ReserveStock(product="p", order_id="2", line=1, quantity=2), StockTooLow),
        (
            Stock,
            [SEEDED, RESERVED],
            ReleaseStock(product="p", order_id="1", line=1),
            [StockReleased(product="p", order_id="1", line=1, quantity=4)],
        ),
        (Stock, [SEEDED], ReleaseStock(product="p", order_id="1", line=1), NotReserved),
        (Shipment, [], ShipOrder(order_id="1", country="France", lines=GOODS), [SHIPPED]),
        (Shipment, [SHIPPED], ShipOrder(order_id="1", country="France", lines=GOODS), AlreadyShipped),
    ],
)
def test_decisions(aggregate: type[Aggregate], past: list[Event], when: Command, then: list[Event] | type[DomainError]) -> None:
    decided = given(aggregate, *past).when(when)
    if isinstance(then, list):
        decided.then(*then)
    else:
        decided.refused(then)


def test_a_return_is_closed_with_what_was_opened() -> None:
    subject = OrderReturn(id="C1")
    subject.evolve(subject.decide(OpenReturn(return_id="C1", country="France", placed_at=AT, lines=(BACK,))))
    assert subject.decide(CloseReturn(return_id="C1")) == (ReturnClosed(return_id="C1", lines=(BACK,), refund=Decimal("2.50")),)


def test_stock_counts_what_comes_back() -> None:
    subject = Stock(id="p").evolve([SEEDED, RESERVED])
    subject.evolve(subject.decide(ReleaseStock(product="p", order_id="1", line=1)))
    subject.evolve(subject.decide(RestockProduct(product="p", return_id="C1", line=1, quantity=2)))
    assert (subject.on_hand, subject.reserved, subject.version) == (7, {}, 4)
