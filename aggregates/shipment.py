"""A shipment: the goods of one order on their way, which cannot be called back."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class ShippedLine(BaseModel):
    """What is on its way: so many units of a product, with their value in GBP."""

    model_config = ConfigDict(frozen=True)
    product: Identifier
    quantity: int = Field(gt=0)
    value: Decimal


class ShipOrder(Command, name="ship_order", id_field="order_id"):
    """Send the goods of an order off."""

    order_id: Identifier
    country: str
    lines: tuple[ShippedLine, ...] = Field(min_length=1)


class OrderShipped(Event, name="shipment.shipped", version=1):
    """The goods have left."""

    order_id: str
    country: str
    lines: tuple[ShippedLine, ...]


class AlreadyShipped(DomainError):
    """An order is shipped once."""


class Shipment(Aggregate, category="shipment"):
    """An order's goods leave once."""

    is_shipped: bool = False

    @handles(ShipOrder)
    def ship(self, command: ShipOrder) -> Event:
        if self.is_shipped:
            raise AlreadyShipped(f"order {self.id} has been shipped before")
        return OrderShipped(order_id=self.id, country=command.country, lines=command.lines)

    @applies(OrderShipped)
    def _shipped(self, _event: OrderShipped) -> None:
        self.is_shipped = True
