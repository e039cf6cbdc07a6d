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


class ConfirmDelivery(Command, name="confirm_delivery", id_field="order_id"):
    """The carrier says that the goods have arrived."""

    order_id: Identifier


class OpenClaim(Command, name="open_claim", id_field="order_id"):
    """Ask the carrier where the goods are."""

    order_id: Identifier


class OrderShipped(Event, name="shipment.shipped", version=1):
    """The goods have left."""

    order_id: str
    country: str
    lines: tuple[ShippedLine, ...]


class ShipmentDelivered(Event, name="shipment.delivered", version=1):
    """The goods have arrived."""

    order_id: str


class ClaimOpened(Event, name="shipment.claim_opened", version=1):
    """The carrier has not said in time that the goods have arrived."""

    order_id: str


class NotShipped(DomainError):
    """Only what has left can arrive, or be missed."""


class AlreadyShipped(DomainError):
    """An order is shipped once."""


class Shipment(Aggregate, category="shipment"):
    """An order's goods leave once, and arrive at most once; what has arrived is not missed."""

    is_shipped: bool = False
    is_delivered: bool = False
    is_missed: bool = False

    @handles(ShipOrder)
    def ship(self, command: ShipOrder) -> Event:
        if self.is_shipped:
            raise AlreadyShipped(f"order {self.id} has been shipped before")
        return OrderShipped(order_id=self.id, country=command.country, lines=command.lines)

    @handles(ConfirmDelivery)
    def confirm(self, _command: ConfirmDelivery) -> Event | None:
        self._must_be_shipped()
        return None if self.is_delivered else ShipmentDelivered(order_id=self.id)

    @handles(OpenClaim)
    def open_claim(self, _command: OpenClaim) -> Event | None:
        self._must_be_shipped()
        return None if self.is_delivered or self.is_missed else ClaimOpened(order_id=self.id)

    def _must_be_shipped(self) -> None:
        if not self.is_shipped:
            raise NotShipped(f"order {self.id} has not been shipped")

    @applies(ShipmentDelivered)
    def _delivered(self, _event: ShipmentDelivered) -> None:
        self.is_delivered, self.is_missed = True, False

    @applies(ClaimOpened)
    def _claimed(self, _event: ClaimOpened) -> None:
        self.is_missed = True

    @applies(OrderShipped)
    def _shipped(self, _event: OrderShipped) -> None:
        self.is_shipped = True
