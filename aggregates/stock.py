"""The stock of one product: what is on hand, and what is reserved for which line of which order."""

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class SeedStock(Command, name="seed_stock", id_field="product"):
    """Count the first units in; a product that was counted before stays as it is."""

    product: Identifier
    quantity: int = Field(ge=0)


class ReserveStock(Command, name="reserve_stock", id_field="product"):
    """Put units aside for a line of an order."""

    product: Identifier
    order_id: str
    line: int
    quantity: int = Field(gt=0)


class ReleaseStock(Command, name="release_stock", id_field="product"):
    """Give the units of a line back."""

    product: Identifier
    order_id: str
    line: int


class RestockProduct(Command, name="restock_product", id_field="product"):
    """Take the units of a returned line in."""

    product: Identifier
    return_id: str
    line: int
    quantity: int = Field(gt=0)


class StockSeeded(Event, name="stock.seeded", version=1):
    """The first units are in."""

    product: str
    quantity: int


class StockReserved(Event, name="stock.reserved", version=1):
    """Units are put aside."""

    product: str
    order_id: str
    line: int
    quantity: int


class StockReleased(Event, name="stock.released", version=1):
    """Units are on hand again."""

    product: str
    order_id: str
    line: int
    quantity: int


class ProductRestocked(Event, name="stock.restocked", version=1):
    """Returned units are on hand."""

    product: str
    return_id: str
    line: int
    quantity: int


class StockTooLow(DomainError):
    """No more is put aside than is on hand."""


class NotReserved(DomainError):
    """Only what was put aside can be given back."""


class Stock(Aggregate, category="stock"):
    """Never below zero, and every reserved unit belongs to one line."""

    on_hand: int = 0
    is_seeded: bool = False
    reserved: dict[str, int] = Field(default_factory=dict)

    @handles(SeedStock)
    def seed(self, command: SeedStock) -> Event | None:
        return None if self.is_seeded else StockSeeded(product=self.id, quantity=command.quantity)

    @handles(ReserveStock)
    def reserve(self, command: ReserveStock) -> Event:
        if command.quantity > self.on_hand:
            raise StockTooLow(f"product {self.id} has {self.on_hand} left, {command.quantity} wanted")
        return StockReserved(product=self.id, order_id=command.order_id, line=command.line, quantity=command.quantity)

    @handles(ReleaseStock)
    def release(self, command: ReleaseStock) -> Event:
        quantity = self.reserved.get(f"{command.order_id}/{command.line}")
        if quantity is None:
            raise NotReserved(f"nothing of product {self.id} is reserved for line {command.line} of {command.order_id}")
        return StockReleased(product=self.id, order_id=command.order_id, line=command.line, quantity=quantity)

    @handles(RestockProduct)
    def restock(self, command: RestockProduct) -> Event:
        return ProductRestocked(product=self.id, return_id=command.return_id, line=command.line, quantity=command.quantity)

    @applies(StockSeeded)
    def _seeded(self, event: StockSeeded) -> None:
        self.on_hand += event.quantity
        self.is_seeded = True

    @applies(StockReserved)
    def _reserved(self, event: StockReserved) -> None:
        self.on_hand -= event.quantity
        self.reserved[f"{event.order_id}/{event.line}"] = event.quantity

    @applies(StockReleased)
    def _released(self, event: StockReleased) -> None:
        self.on_hand += self.reserved.pop(f"{event.order_id}/{event.line}")

    @applies(ProductRestocked)
    def _restocked(self, event: ProductRestocked) -> None:
        self.on_hand += event.quantity
