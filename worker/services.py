"""What runs where: each service with its aggregates, projections and sagas. A new one of these is one line here."""

from aggregates.order import Order
from aggregates.order_return import OrderReturn
from aggregates.payment import Payment
from aggregates.shipment import Shipment
from aggregates.stock import Stock
from projections.order_summary import OrderSummary
from projections.product_sales import ProductSales
from sagakit.service import Service
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn

SERVICES = (
    Service("orders", aggregates=(Order, OrderReturn), projections=(OrderSummary,), sagas=(OrderFulfilment, TakeReturn)),
    Service("payments", aggregates=(Payment,)),
    Service("stock", aggregates=(Stock,)),
    Service("shipping", aggregates=(Shipment,)),
    Service("reporting", projections=(ProductSales,)),
)
