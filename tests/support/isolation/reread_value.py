"""Reread value: a command names the version that its saga decided on, and is refused when the product has changed since."""

from __future__ import annotations

from sagakit import Aggregate, Command, DomainError, Event, Service, applies, handles
from sagakit.messages import Identifier


class SetPrice(Command, name="set_price", id_field="product"):
    product: Identifier
    pence: int
    seen: int


class SellProduct(Command, name="sell_product", id_field="product"):
    product: Identifier
    quoted: int
    seen: int


class PriceSet(Event, name="product.price_set", version=1):
    product: str
    pence: int


class ProductSold(Event, name="product.sold", version=1):
    product: str
    pence: int
    quoted: int


class HasChanged(DomainError):
    """What was decided on a product holds for the version that was read, and no other."""


class Product(Aggregate, category="product"):
    pence: int = 0
    taken: int = 0
    quoted: int = 0

    @handles(SetPrice)
    def set_price(self, command: SetPrice) -> Event:
        self._must_be_as(command.seen)
        return PriceSet(product=self.id, pence=command.pence)

    @handles(SellProduct)
    def sell(self, command: SellProduct) -> Event:
        self._must_be_as(command.seen)
        return ProductSold(product=self.id, pence=self.pence, quoted=command.quoted)

    def _must_be_as(self, seen: int) -> None:
        if self.version != seen:
            raise HasChanged(f"product {self.id} is at version {self.version}, and was read at {seen}")

    @applies(PriceSet)
    def _price_set(self, event: PriceSet) -> None:
        self.pence = event.pence

    @applies(ProductSold)
    def _sold(self, event: ProductSold) -> None:
        self.taken, self.quoted = event.pence, event.quoted


SERVICE = Service("products", aggregates=(Product,))
