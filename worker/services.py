"""What runs where: each service with its aggregates, projections and sagas. A new one of these is one line here.

`SERVICES` is what `python -m worker` runs; `BANK` is the bank test's, named by ``--app worker.services:BANK``; `RENEWALS` is
of sagas that live for years, and `TRIPS` of one that tries, confirms and cancels.
"""

from aggregates.account import Account
from aggregates.car import Car
from aggregates.card import Card
from aggregates.flight import Flight
from aggregates.hotel import Hotel
from aggregates.order import Order
from aggregates.order_return import OrderReturn
from aggregates.payment import Payment
from aggregates.shipment import Shipment
from aggregates.stock import Stock
from aggregates.subscription import Subscription
from aggregates.transfer import Transfer
from aggregates.trip import Trip
from aggregates.wallet import Wallet
from projections.order_summary import OrderSummary
from projections.product_sales import ProductSales
from sagakit.service import Service
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn
from workflows.subscription_renewal import SubscriptionRenewal
from workflows.trip_booking import TripBooking

SERVICES = (
    Service("orders", aggregates=(Order, OrderReturn), projections=(OrderSummary,), sagas=(OrderFulfilment, TakeReturn)),
    Service("payments", aggregates=(Payment,)),
    Service("stock", aggregates=(Stock,)),
    Service("shipping", aggregates=(Shipment,)),
    Service("reporting", projections=(ProductSales,)),
)
BANK = (
    Service("transfers", aggregates=(Transfer,), sagas=(MoneyTransfer,)),
    Service("accounts", aggregates=(Account,)),
    Service("wallets", aggregates=(Wallet,)),
)
RENEWALS = (
    Service("subscriptions", aggregates=(Subscription,), sagas=(SubscriptionRenewal,)),
    Service("cards", aggregates=(Card,)),
)
TRIPS = (
    Service("trips", aggregates=(Trip,), sagas=(TripBooking,)),
    Service("flights", aggregates=(Flight,)),
    Service("hotels", aggregates=(Hotel,)),
    Service("cars", aggregates=(Car,)),
)
