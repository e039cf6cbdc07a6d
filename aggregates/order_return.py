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
    """Announce goods that come back."""

    return_id: Identifier
    customer: Annotated[str, Personal()] = ""
    country: str
    placed_at: datetime
    lines: tuple[ReturnLine, ...] = Field(min_length=1)


class CloseReturn(Command, name="close_return", id_field="return_id"):
    """Say that the goods are in stock and the money is paid back."""

    return_id: Identifier


class ReturnOpened(Event, name="return.opened", version=1):
    """Goods come back; ``refund`` is their value, above 0."""

    return_id: str
    customer: Annotated[str, Personal()]
    country: str
    placed_at: datetime
    lines: tuple[ReturnLine, ...]
    refund: Decimal


class ReturnClosed(Event, name="return.closed", version=1):
    """The goods are in stock and the money is paid back."""

    return_id: str
    lines: tuple[ReturnLine, ...]
    refund: Decimal


class ReturnAlreadyOpened(DomainError):
    """A document number names one return, ever."""


class ReturnNotOpen(DomainError):
    """Only an open return can be closed, and only once."""


class OrderReturn(Aggregate, category="return"):
    """A return is closed once."""

    status: Literal["new", "open", "closed"] = "new"
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
        )

    @handles(CloseReturn)
    def close(self, _command: CloseReturn) -> Event:
        if self.status != "open":
            raise ReturnNotOpen(f"return {self.id} is {self.status}, not open")
        return ReturnClosed(return_id=self.id, lines=self.lines, refund=self.refund)

    @applies(ReturnOpened)
    def _opened(self, event: ReturnOpened) -> None:
        self.status, self.lines, self.refund = "open", event.lines, event.refund

    @applies(ReturnClosed)
    def _closed(self, _event: ReturnClosed) -> None:
        self.status = "closed"
