"""What sagas are rehearsed with: small, but whole. Diagrams, tests and recorded histories share it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from aggregates.account import OpenAccount
from aggregates.car import OfferCar
from aggregates.flight import OfferFlight
from aggregates.hotel import OpenHotel
from aggregates.order import OrderLine, OrderPlaced
from aggregates.order_return import ReturnLine, ReturnOpened
from aggregates.payment import AnswerPayment, PaymentAnswered
from aggregates.shipment import ConfirmDelivery, ShipmentDelivered
from aggregates.stock import SeedStock
from aggregates.subscription import SubscriptionBegun
from aggregates.transfer import Holder, TransferRequested
from aggregates.trip import TripRequested
from aggregates.wallet import OpenWallet
from sagakit.testing import Later, Rehearsal
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn
from workflows.subscription_renewal import SubscriptionRenewal
from workflows.trip_booking import GIVE_UP, GO, TripBooking

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
LONG_ORDER = ORDER.model_copy(
    update={"order_id": "8", "is_paid_by_provider": True, "may_ship_in_part": True, "awaits_delivery": True}
)
ANSWERED = PaymentAnswered(payment_id="8", is_authorised=True)
DELIVERED = ShipmentDelivered(order_id="8")
SLOWLY = (Later(timedelta(seconds=20), ANSWERED), Later(timedelta(days=3), DELIVERED))
RETURN = ReturnOpened(
    return_id="C7",
    customer="c",
    country="United Kingdom",
    placed_at=NOON,
    lines=(ReturnLine(product="a", quantity=1, unit_price=PRICE),),
    refund=PRICE,
)
RETURN_OF_ORDER = RETURN.model_copy(update={"return_id": "C8", "order_id": "7"})
TRANSFER = TransferRequested(
    transfer_id="t", source=Holder(kind="account", id="a"), target=Holder(kind="wallet", id="w"), pence=250
)
SUBSCRIPTION = SubscriptionBegun(subscription="s", card="k", pence=999, months=2, first_due=NOON)
STOCK = tuple(SeedStock(product=product, quantity=10**9) for product in ("a", "b"))
MONEY = (OpenAccount(account="a", pence=10**12), OpenWallet(wallet="w", pence=0, limit=10**12))
OFFERS = (OfferFlight(flight="f", seats=10**6), OpenHotel(hotel="h", rooms=10**6), OfferCar(car="c"))
TRIP = TripRequested(trip="t", flight="f", seats=2, hotel="h", car="c")
REHEARSALS = (Rehearsal(OrderFulfilment, ORDER, given=STOCK), Rehearsal(TakeReturn, RETURN, given=STOCK))
LONG_WAYS = (
    Rehearsal(OrderFulfilment, LONG_ORDER, told=SLOWLY, way="the long way"),
    Rehearsal(TakeReturn, RETURN_OF_ORDER, way="of an order"),
)
LONG_ORDER_TOLD = Rehearsal(
    OrderFulfilment,
    LONG_ORDER,
    told=(ANSWERED, DELIVERED),
    given=STOCK,
    told_by=(AnswerPayment(payment_id="8", is_authorised=True), ConfirmDelivery(order_id="8")),
    way="told at once",
)
"""The long way for real services, which record what the saga is told when it waits for it."""
BANK = (Rehearsal(MoneyTransfer, TRANSFER, given=MONEY),)
RENEWALS = (Rehearsal(SubscriptionRenewal, SUBSCRIPTION),)
TRIPS = (
    Rehearsal(TripBooking, TRIP, answers=(GO,), given=OFFERS, apart=("car",)),
    Rehearsal(TripBooking, TRIP, answers=(GIVE_UP,), only=(3, "refused")),
    Rehearsal(TripBooking, TRIP, only=(3, "refused")),
)
