"""What an order, its payment, its shipment and its returns decide beyond the short way."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aggregates.order import (
    AcceptReturn,
    CancellationRefused,
    CancellationRequested,
    CompleteOrder,
    DropLines,
    NoteDispatch,
    NothingLeft,
    NotReturnable,
    Order,
    OrderCancelled,
    OrderCompleted,
    OrderDispatched,
    OrderLine,
    OrderNotOpen,
    OrderPlaced,
    OrderReduced,
    RequestCancellation,
    ReturnAccepted,
    ReturnedLine,
    TooLateToCancel,
)  # fmt: skip
from aggregates.order_return import OrderReturn, RefuseReturn, ReturnLine, ReturnNotOpen, ReturnOpened, ReturnRefused
from aggregates.payment import (
    AnswerPayment,
    CapturePayment,
    Payment,
    PaymentAnswered,
    PaymentAnsweredLate,
    PaymentAuthorised,
    PaymentGivenUp,
    PaymentNotHeld,
    PaymentNotRequested,
    PaymentRequested,
    PaymentVoided,
    RequestPayment,
    VoidPayment,
)  # fmt: skip
from aggregates.shipment import (
    ClaimOpened,
    ConfirmDelivery,
    NotShipped,
    OpenClaim,
    OrderShipped,
    Shipment,
    ShipmentDelivered,
    ShippedLine,
)  # fmt: skip
from sagakit import Aggregate, Command, DomainError, Event
from sagakit.testing import given
from worker.rehearsals import NOON, PRICE

LINES = tuple(OrderLine(product=product, quantity=3, unit_price=PRICE) for product in ("a", "b", "b"))
PLACED = OrderPlaced(order_id="1", customer="", country="France", placed_at=NOON, lines=LINES, total=9 * PRICE)
REDUCED = OrderReduced(order_id="1", dropped=(1,), lines=2, total=6 * PRICE)
WISH = RequestCancellation(order_id="1", reason="bought elsewhere")
WISHED = CancellationRequested(order_id="1", reason="bought elsewhere")
DISPATCHED = OrderDispatched(order_id="1")
DONE = OrderCompleted(order_id="1", total=9 * PRICE)
UNCONFIRMED = OrderCompleted(order_id="1", total=9 * PRICE, delivery="unconfirmed")
CANCELLED = OrderCancelled(order_id="1", reason="r")


def _back(product: str, quantity: int, price: Decimal = PRICE) -> tuple[ReturnedLine, ...]:
    return (ReturnedLine(product=product, quantity=quantity, unit_price=price),)


def _accept(product: str, quantity: int, price: Decimal = PRICE, name: str = "C1") -> AcceptReturn:
    return AcceptReturn(order_id="1", return_id=name, lines=_back(product, quantity, price))


BACK = ReturnAccepted(order_id="1", return_id="C0", lines=_back("b", 4))
ASKED = PaymentRequested(payment_id="1", amount=Decimal(9), limit=Decimal(10))
YES, NO = (AnswerPayment(payment_id="1", is_authorised=is_authorised, reason="r") for is_authorised in (True, False))
SAID_YES, SAID_NO = (PaymentAnswered(payment_id="1", is_authorised=is_authorised, reason="r") for is_authorised in (True, False))
HELD = PaymentAuthorised(payment_id="1", amount=Decimal(9))
GIVEN_UP = PaymentGivenUp(payment_id="1", amount=Decimal(9))
SHIPPED = OrderShipped(order_id="1", country="France", lines=(ShippedLine(product="a", quantity=1, value=PRICE),))
ARRIVED, MISSED = ShipmentDelivered(order_id="1"), ClaimOpened(order_id="1")
OPENED = ReturnOpened(
    return_id="C1", customer="", country="France", placed_at=NOON, refund=PRICE, order_id="1",
    lines=(ReturnLine(product="a", quantity=1, unit_price=PRICE),),
)  # fmt: skip
REFUSED = ReturnRefused(return_id="C1", reason="r")


@pytest.mark.parametrize(
    ("aggregate", "past", "when", "then"),
    [
        (Order, [PLACED], DropLines(order_id="1", lines=(1,)), [REDUCED]),
        (Order, [PLACED], DropLines(order_id="1", lines=(1, 2, 3)), NothingLeft),
        (Order, [PLACED, REDUCED], DropLines(order_id="1", lines=(2, 3)), NothingLeft),
        (Order, [PLACED, REDUCED], DropLines(order_id="1", lines=(1, 9)), []),
        (Order, [PLACED, REDUCED], CompleteOrder(order_id="1"), [OrderCompleted(order_id="1", total=6 * PRICE)]),
        (Order, [PLACED], WISH, [WISHED]),
        (Order, [PLACED, WISHED], WISH, []),
        (Order, [], WISH, OrderNotOpen),
        (Order, [PLACED, CANCELLED], WISH, OrderNotOpen),
        (Order, [PLACED, DISPATCHED], WISH, TooLateToCancel),
        (Order, [PLACED, DONE], WISH, TooLateToCancel),
        (Order, [PLACED], NoteDispatch(order_id="1"), [DISPATCHED]),
        (Order, [PLACED, WISHED], NoteDispatch(order_id="1"), [DISPATCHED, CancellationRefused(order_id="1")]),
        (Order, [PLACED, WISHED], CompleteOrder(order_id="1"), [CancellationRefused(order_id="1"), DONE]),
        (Order, [PLACED, WISHED, DISPATCHED, CancellationRefused(order_id="1")], CompleteOrder(order_id="1"), [DONE]),
        (Order, [PLACED], _accept("a", 1), NotReturnable),
        (Order, [PLACED, CANCELLED], _accept("a", 1), NotReturnable),
        (Order, [], _accept("a", 1), NotReturnable),
        (Order, [PLACED, DONE], _accept("a", 3), [ReturnAccepted(order_id="1", return_id="C1", lines=_back("a", 3))]),
        (Order, [PLACED, DONE], _accept("a", 4), NotReturnable),
        (Order, [PLACED, DONE], _accept("c", 1), NotReturnable),
        (Order, [PLACED, DONE], _accept("a", 1, 2 * PRICE), NotReturnable),
        (Order, [PLACED, DONE, BACK], _accept("b", 2), [ReturnAccepted(order_id="1", return_id="C1", lines=_back("b", 2))]),
        (Order, [PLACED, DONE, BACK], _accept("b", 3), NotReturnable),
        (Order, [PLACED, DONE, BACK], _accept("b", 1, name="C0"), NotReturnable),
        (Order, [PLACED, REDUCED, DONE], _accept("a", 1), NotReturnable),
        (Order, [PLACED, UNCONFIRMED], _accept("a", 3), [ReturnAccepted(order_id="1", return_id="C1", lines=_back("a", 3))]),
        (Payment, [], RequestPayment(payment_id="1", amount=Decimal(9), limit=Decimal(10)), [ASKED]),
        (Payment, [ASKED], YES, [HELD, SAID_YES]),
        (Payment, [ASKED], NO, [SAID_NO]),
        (Payment, [ASKED, HELD, SAID_YES], YES, []),
        (Payment, [ASKED, SAID_NO], VoidPayment(payment_id="1"), []),
        (Payment, [ASKED, SAID_NO], CapturePayment(payment_id="1"), PaymentNotHeld),
        (Payment, [ASKED], CapturePayment(payment_id="1"), PaymentNotHeld),
        (Payment, [ASKED], VoidPayment(payment_id="1"), [GIVEN_UP]),
        (Payment, [ASKED, GIVEN_UP], YES, [PaymentAnsweredLate(payment_id="1", is_authorised=True)]),
        (Payment, [ASKED, HELD, SAID_YES], VoidPayment(payment_id="1"), [PaymentVoided(payment_id="1", amount=Decimal(9))]),
        (Payment, [], YES, PaymentNotRequested),
        (Shipment, [], ConfirmDelivery(order_id="1"), NotShipped),
        (Shipment, [SHIPPED], ConfirmDelivery(order_id="1"), [ARRIVED]),
        (Shipment, [SHIPPED, ARRIVED], ConfirmDelivery(order_id="1"), []),
        (Shipment, [], OpenClaim(order_id="1"), NotShipped),
        (Shipment, [SHIPPED], OpenClaim(order_id="1"), [MISSED]),
        (Shipment, [SHIPPED, ARRIVED], OpenClaim(order_id="1"), []),
        (Shipment, [SHIPPED, MISSED], ConfirmDelivery(order_id="1"), [ARRIVED]),
        (OrderReturn, [OPENED], RefuseReturn(return_id="C1", reason="r"), [REFUSED]),
        (OrderReturn, [OPENED, REFUSED], RefuseReturn(return_id="C1", reason="r"), ReturnNotOpen),
    ],
)
def test_decisions(aggregate: type[Aggregate], past: list[Event], when: Command, then: list[Event] | type[DomainError]) -> None:
    decided = given(aggregate, *past).when(when)
    if isinstance(then, list):
        decided.then(*then)
    else:
        decided.refused(then)


def test_a_refused_return_says_what_is_left() -> None:
    refusal = given(Order, PLACED, DONE, BACK).when(_accept("b", 3)).refused(NotReturnable)
    assert str(refusal) == "order 1 has 2 of product b at 2.50 left to come back, not 3"
