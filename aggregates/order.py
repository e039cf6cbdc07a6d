"""An order: placed, then either completed or cancelled with a reason; what is sent back of it later is counted here."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier
from sagakit.personal import Personal

Delivery = Literal["not awaited", "confirmed", "unconfirmed"]


class OrderLine(BaseModel):
    """What is sold: so many units of a product at a price in GBP."""

    model_config = ConfigDict(frozen=True)
    product: Identifier
    quantity: int = Field(gt=0)
    unit_price: Decimal = Field(gt=0, decimal_places=2)


class ReturnedLine(BaseModel):
    """What comes back: so many units of a product, for the price in GBP that was paid for each."""

    model_config = ConfigDict(frozen=True)
    product: Identifier
    quantity: int = Field(gt=0)
    unit_price: Decimal


class PlaceOrder(Command, name="place_order", id_field="order_id"):
    """Place an order; ``payment_limit`` is what the customer's means of payment covers, nothing means everything.

    ``is_paid_by_provider``: the payment provider is asked, and answers by an event. ``may_ship_in_part``: lines that are out of
    stock are dropped, the others shipped. ``awaits_delivery``: it is complete when the carrier says so, or after 14 days.
    """

    order_id: Identifier
    customer: Annotated[str, Personal()] = ""
    country: str
    placed_at: datetime
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    payment_limit: Decimal | None = None
    is_paid_by_provider: bool = False
    may_ship_in_part: bool = False
    awaits_delivery: bool = False


class DropLines(Command, name="drop_lines", id_field="order_id"):
    """Take lines, counted from 1, out of an open order: they are neither shipped nor paid."""

    order_id: Identifier
    lines: tuple[int, ...] = Field(min_length=1)


class NoteDispatch(Command, name="note_dispatch", id_field="order_id"):
    """Say that the goods have left, while the order stays open."""

    order_id: Identifier


class RequestCancellation(Command, name="request_cancellation", id_field="order_id"):
    """The customer wants no more of it."""

    order_id: Identifier
    reason: str = Field(min_length=1)


class CompleteOrder(Command, name="complete_order", id_field="order_id"):
    """Say that everything was shipped and paid."""

    order_id: Identifier
    delivery: Delivery = "not awaited"


class CancelOrder(Command, name="cancel_order", id_field="order_id"):
    """Give the order up."""

    order_id: Identifier
    reason: str


class AcceptReturn(Command, name="accept_return", id_field="order_id"):
    """Count goods that come back against what was shipped; they are worth what was paid for them."""

    order_id: Identifier
    return_id: Identifier
    lines: tuple[ReturnedLine, ...] = Field(min_length=1)


class OrderPlaced(Event, name="order.placed", version=1):
    """The order is to be fulfilled."""

    order_id: str
    customer: Annotated[str, Personal()]
    country: str
    placed_at: datetime
    lines: tuple[OrderLine, ...]
    total: Decimal
    payment_limit: Decimal | None = None
    is_paid_by_provider: bool = False
    may_ship_in_part: bool = False
    awaits_delivery: bool = False


class OrderReduced(Event, name="order.reduced", version=1):
    """These lines, counted from 1, were dropped; ``lines`` and ``total`` are of what is left."""

    order_id: str
    dropped: tuple[int, ...]
    lines: int
    total: Decimal


class OrderDispatched(Event, name="order.dispatched", version=1):
    """The goods have left; the order is still open."""

    order_id: str


class CancellationRequested(Event, name="order.cancellation_requested", version=1):
    """The customer wants no more of it; what became of that is said by `OrderCancelled` or `CancellationRefused`."""

    order_id: str
    reason: str


class CancellationRefused(Event, name="order.cancellation_refused", version=1):
    """The wish came when the goods had left: they can be sent back once the order is completed."""

    order_id: str


class OrderCompleted(Event, name="order.completed", version=1):
    """Everything was shipped and paid; with delivery *unconfirmed* the carrier owes an answer."""

    order_id: str
    total: Decimal
    delivery: Delivery = "not awaited"


class OrderCancelled(Event, name="order.cancelled", version=1):
    """The order was given up; nothing of it is held anywhere."""

    order_id: str
    reason: str


class ReturnAccepted(Event, name="order.return_accepted", version=1):
    """Goods of this order come back."""

    order_id: str
    return_id: str
    lines: tuple[ReturnedLine, ...]


class OrderAlreadyPlaced(DomainError):
    """A document number names one order, ever."""


class OrderNotOpen(DomainError):
    """Only an open order can end, and only once."""


class TooLateToCancel(DomainError):
    """What has left cannot be called back, only sent back."""


class NothingLeft(DomainError):
    """An order without a line is no order."""


class NotReturnable(DomainError):
    """Only what was ordered, shipped and paid can come back, once, and for what was paid for it."""


class Order(Aggregate, category="order"):
    """An order ends once, completed or cancelled; no more comes back of it than was shipped."""

    status: Literal["new", "open", "completed", "cancelled"] = "new"
    total: Decimal = Decimal(0)
    lines: dict[int, OrderLine] = Field(default_factory=dict)
    is_dispatched: bool = False
    is_cancellation_wanted: bool = False
    returns: dict[str, tuple[ReturnedLine, ...]] = Field(default_factory=dict)

    @handles(PlaceOrder)
    def place(self, command: PlaceOrder) -> Event:
        if self.exists:
            raise OrderAlreadyPlaced(f"order {self.id} has been placed before")
        return OrderPlaced(total=total_of(command.lines), **dict(command))

    @handles(DropLines)
    def drop(self, command: DropLines) -> Event | None:
        self._must_be_open()
        dropped = tuple(number for number in self.lines if number in command.lines)
        left = [line for number, line in self.lines.items() if number not in dropped]
        if not left:
            raise NothingLeft(f"nothing is left of order {self.id}")
        return OrderReduced(order_id=self.id, dropped=dropped, lines=len(left), total=total_of(left)) if dropped else None

    @handles(NoteDispatch)
    def note_dispatch(self, _command: NoteDispatch) -> list[Event]:
        self._must_be_open()
        return [OrderDispatched(order_id=self.id), *self._answer_to_a_wish()]

    @handles(RequestCancellation)
    def request_cancellation(self, command: RequestCancellation) -> Event | None:
        if self.is_dispatched or self.status == "completed":
            raise TooLateToCancel(f"order {self.id} has left: what is delivered can be sent back")
        self._must_be_open()
        return None if self.is_cancellation_wanted else CancellationRequested(order_id=self.id, reason=command.reason)

    @handles(CompleteOrder)
    def complete(self, command: CompleteOrder) -> list[Event]:
        self._must_be_open()
        return [*self._answer_to_a_wish(), OrderCompleted(order_id=self.id, total=self.total, delivery=command.delivery)]

    @handles(CancelOrder)
    def cancel(self, command: CancelOrder) -> Event:
        self._must_be_open()
        return OrderCancelled(order_id=self.id, reason=command.reason)

    @handles(AcceptReturn)
    def accept_return(self, command: AcceptReturn) -> Event:
        if not self.exists:
            raise NotReturnable(f"there is no order {self.id}: nothing of it can come back")
        if self.status != "completed":
            raise NotReturnable(f"order {self.id} is {self.status}, not completed: nothing of it can come back")
        if command.return_id in self.returns:
            raise NotReturnable(f"return {command.return_id} of order {self.id} has been accepted before")
        left = _counted(self.lines.values()) - _counted(line for lines in self.returns.values() for line in lines)
        for (product, price), wanted in _counted(command.lines).items():
            if wanted > (rest := left[product, price]):
                raise NotReturnable(f"order {self.id} has {rest} of product {product} at {price} left to come back, not {wanted}")
        return ReturnAccepted(order_id=self.id, return_id=command.return_id, lines=command.lines)

    def _must_be_open(self) -> None:
        if self.status != "open":
            raise OrderNotOpen(f"order {self.id} is {self.status}, not open")

    def _answer_to_a_wish(self) -> list[Event]:
        return [CancellationRefused(order_id=self.id)] if self.is_cancellation_wanted else []

    @applies(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.status, self.total, self.lines = "open", event.total, dict(enumerate(event.lines, start=1))

    @applies(OrderReduced)
    def _reduced(self, event: OrderReduced) -> None:
        self.total = event.total
        self.lines = {number: line for number, line in self.lines.items() if number not in event.dropped}

    @applies(OrderDispatched)
    def _dispatched(self, _event: OrderDispatched) -> None:
        self.is_dispatched = True

    @applies(CancellationRequested)
    def _cancellation_requested(self, _event: CancellationRequested) -> None:
        self.is_cancellation_wanted = True

    @applies(CancellationRefused)
    def _cancellation_refused(self, _event: CancellationRefused) -> None:
        self.is_cancellation_wanted = False

    @applies(OrderCompleted)
    def _completed(self, _event: OrderCompleted) -> None:
        self.status = "completed"

    @applies(OrderCancelled)
    def _cancelled(self, _event: OrderCancelled) -> None:
        self.status = "cancelled"

    @applies(ReturnAccepted)
    def _return_accepted(self, event: ReturnAccepted) -> None:
        self.returns[event.return_id] = event.lines


def total_of(lines: Iterable[OrderLine]) -> Decimal:
    """Add up what lines cost."""
    return sum((line.quantity * line.unit_price for line in lines), Decimal(0))


def _counted(lines: Iterable[OrderLine | ReturnedLine]) -> Counter[tuple[str, Decimal]]:
    units: Counter[tuple[str, Decimal]] = Counter()
    for line in lines:
        units[line.product, line.unit_price] += line.quantity
    return units
