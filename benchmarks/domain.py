"""A small domain to measure with: a basket that gains lines. Its event is some 90 bytes of JSON; an old one is upcast."""

from __future__ import annotations

from typing import Any

from sagakit import Aggregate, Command, Event, Service, applies, handles, upcasts
from sagakit.aggregate import Decision
from sagakit.messages import Metadata, NewEvent, new_event
from sagakit.service import ServiceMap

SERVICE = "bench"


class AddLine(Command, name="add_line", id_field="basket"):
    """Put a line into a basket."""

    basket: str
    sku: str = "WHITE-HANGING-HEART"
    quantity: int = 6
    price_cents: int = 255


class LineAdded(Event, name="basket.line_added", version=2):
    """A line is in the basket. Version 1 had no currency."""

    sku: str
    quantity: int
    price_cents: int
    currency: str


@upcasts("basket.line_added", 1)
def with_currency(fields: dict[str, Any]) -> dict[str, Any]:
    """Add the currency, which was always the same then."""
    return {**fields, "currency": "GBP"}


class Basket(Aggregate, category="basket"):
    """A basket knows how many lines it has and what they cost."""

    lines: int = 0
    total_cents: int = 0

    @handles(AddLine)
    def add(self, command: AddLine) -> Event:
        """Add the line."""
        return LineAdded(sku=command.sku, quantity=command.quantity, price_cents=command.price_cents, currency="GBP")

    @applies(LineAdded)
    def _added(self, event: LineAdded) -> None:
        self.lines += 1
        self.total_cents += event.quantity * event.price_cents


SERVICES = ServiceMap([Service(SERVICE, aggregates=(Basket,), upcasters=(with_currency,))])


class SnappedBasket(Basket, category="basket", snapshot_every=100):
    """The same basket with a snapshot every 100 events."""

    @handles(AddLine)
    def add(self, command: AddLine) -> Decision:
        """Add the line."""
        return super().add(command)

    @applies(LineAdded)
    def _added(self, event: LineAdded) -> None:
        super()._added(event)


SNAPPED = ServiceMap([Service(SERVICE, aggregates=(SnappedBasket,), upcasters=(with_currency,))])


_METADATA = Metadata(correlation_id="benchmark", command="add_line", actor="benchmark")


def line_added() -> NewEvent:
    """Make an event ready for the log, so that an append alone is timed."""
    return new_event(LineAdded(sku="WHITE-HANGING-HEART", quantity=6, price_cents=255, currency="GBP"), _METADATA)
