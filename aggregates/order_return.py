"""A return: opened with the goods that come back, closed when they are in stock and refunded."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier
from sagakit.personal import Personal


class ReturnLine(BaseModel):
    """What comes back: so many units of a product, sold at a price in GBP."""

    model_config = ConfigDict(frozen=True)
    product: Identifier
    quantity: int = Field(gt=0)
    unit_price: Decimal = Field(gt=0, decimal_places=2)


class OpenReturn(Command, name="open_return", id_field="return_id"):
    """Announce goods that come back, of the order ``order_id`` where it is known which."""

    return_id: Identifier
    customer: Annotated[str, Personal()] = ""
    country: str
    placed_at: datetime
    lines: tuple[ReturnLine, ...] = Field(min_length=1)
    order_id: Identifier | None = None


class CloseReturn(Command, name="close_return", id_field="return_id"):
    """Say that the goods are in stock and the money is paid back."""

    return_id: Identifier


class RefuseReturn(Command, name="refuse_return", id_field="return_id"):
    """Say why the goods do not come back."""

    return_id: Identifier
    reason: str


class ReturnOpened(Event, name="return.opened", version=1):
    """Goods come back; ``refund`` is their value, above 0."""

    return_id: str
    customer: Annotated[str, Personal()]
    country: str
    placed_at: datetime
    lines: tuple[ReturnLine, ...]
    refund: Decimal
    order_id: str | None = None


class ReturnClosed(Event, name="return.closed", version=1):
    """The goods are in stock and the money is paid back."""

    return_id: str
    lines: tuple[ReturnLine, ...]
    refund: Decimal


class ReturnRefused(Event, name="return.refused", version=1):
    """Nothing was taken in and nothing paid back."""

    return_id: str
    reason: str


class ReturnAlreadyOpened(DomainError):
    """A document number names one return, ever."""


class ReturnNotOpen(DomainError):
    """Only an open return can be closed, and only once."""


class OrderReturn(Aggregate, category="return"):
    """A return ends once, closed or refused."""

    status: Literal["new", "open", "closed", "refused"] = "new"
    lines: tuple[ReturnLine, ...] = ()
    refund: Decimal = Decimal(0)

    @handles(OpenReturn)
    def open(self, command: OpenReturn) -> Event:
        if self.exists:
            raise ReturnAlreadyOpened(f"return {self.id} has been opened before")
        refund = sum((line.quantity * line.unit_price for line in command.lines), Decimal(0))
        return ReturnOpened(
            return_id=self.id,
            customer=command.customer,
            country=command.country,
            placed_at=command.placed_at,
            lines=command.lines,
            refund=refund,
            order_id=command.order_id,
        )

    @handles(CloseReturn)
    def close(self, _command: CloseReturn) -> Event:
        self._must_be_open()
        return ReturnClosed(return_id=self.id, lines=self.lines, refund=self.refund)

    @handles(RefuseReturn)
    def refuse(self, command: RefuseReturn) -> Event:
        self._must_be_open()
        return ReturnRefused(return_id=self.id, reason=command.reason)

    def _must_be_open(self) -> None:
        if self.status != "open":
            raise ReturnNotOpen(f"return {self.id} is {self.status}, not open")

    @applies(ReturnOpened)
    def _opened(self, event: ReturnOpened) -> None:
        self.status, self.lines, self.refund = "open", event.lines, event.refund

    @applies(ReturnClosed)
    def _closed(self, _event: ReturnClosed) -> None:
        self.status = "closed"

    @applies(ReturnRefused)
    def _refused(self, _event: ReturnRefused) -> None:
        self.status = "refused"
