"""An order: placed, then either completed or cancelled with a reason."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier
from sagakit.personal import Personal


class OrderLine(BaseModel):
    """What is sold: so many units of a product at a price in GBP."""

    model_config = ConfigDict(frozen=True)
    product: Identifier
    quantity: int = Field(gt=0)
    unit_price: Decimal = Field(gt=0, decimal_places=2)


class PlaceOrder(Command, name="place_order", id_field="order_id"):
    """Place an order; ``payment_limit`` is what the customer's means of payment covers, nothing means everything."""

    order_id: Identifier
    customer: Annotated[str, Personal()] = ""
    country: str
    placed_at: datetime
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    payment_limit: Decimal | None = None


class CompleteOrder(Command, name="complete_order", id_field="order_id"):
    """Say that everything was shipped and paid."""

    order_id: Identifier


class CancelOrder(Command, name="cancel_order", id_field="order_id"):
    """Give the order up."""

    order_id: Identifier
    reason: str


class OrderPlaced(Event, name="order.placed", version=1):
    """The order is to be fulfilled."""

    order_id: str
    customer: Annotated[str, Personal()]
    country: str
    placed_at: datetime
    lines: tuple[OrderLine, ...]
    total: Decimal
    payment_limit: Decimal | None = None


class OrderCompleted(Event, name="order.completed", version=1):
    """Everything was shipped and paid."""

    order_id: str
    total: Decimal


class OrderCancelled(Event, name="order.cancelled", version=1):
    """The order was given up; nothing of it is held anywhere."""

    order_id: str
    reason: str


class OrderAlreadyPlaced(DomainError):
    """A document number names one order, ever."""


class OrderNotOpen(DomainError):
    """Only an open order can end, and only once."""


class Order(Aggregate, category="order"):
    """An order ends once: completed or cancelled."""

    status: Literal["new", "open", "completed", "cancelled"] = "new"
    total: Decimal = Decimal(0)

    @handles(PlaceOrder)
    def place(self, command: PlaceOrder) -> Event:
        if self.exists:
            raise OrderAlreadyPlaced(f"order {self.id} has been placed before")
        total = sum((line.quantity * line.unit_price for line in command.lines), Decimal(0))
        return OrderPlaced(
            order_id=self.id,
            customer=command.customer,
            country=command.country,
            placed_at=command.placed_at,
            lines=command.lines,
            total=total,
            payment_limit=command.payment_limit,
        )

    @handles(CompleteOrder)
    def complete(self, _command: CompleteOrder) -> Event:
        self._must_be_open()
        return OrderCompleted(order_id=self.id, total=self.total)

    @handles(CancelOrder)
    def cancel(self, command: CancelOrder) -> Event:
        self._must_be_open()
        return OrderCancelled(order_id=self.id, reason=command.reason)

    def _must_be_open(self) -> None:
        if self.status != "open":
            raise OrderNotOpen(f"order {self.id} is {self.status}, not open")

    @applies(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.status, self.total = "open", event.total

    @applies(OrderCompleted)
    def _completed(self, _event: OrderCompleted) -> None:
        self.status = "completed"

    @applies(OrderCancelled)
    def _cancelled(self, _event: OrderCancelled) -> None:
        self.status = "cancelled"
