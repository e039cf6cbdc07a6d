"""Lost update and fuzzy read, without and with the version that a saga decided on (failures E)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sagakit import Aggregate, Command, Event, Service, applies, handles
from sagakit.system import System
from tests.support.interleaving import Play, World, every_order
from tests.support.isolation.reread_value import SERVICE, PriceSet, Product, ProductSold, SellProduct, SetPrice

Over = Callable[..., Any]


class Careless(Aggregate, category="product"):
    """The product without the countermeasure: it takes no notice of what its caller saw."""

    pence: int = 0
    taken: int = 0
    quoted: int = 0

    @handles(SetPrice)
    def set_price(self, command: SetPrice) -> Event:
        return PriceSet(product=self.id, pence=command.pence)

    @handles(SellProduct)
    def sell(self, command: SellProduct) -> Event:
        return ProductSold(product=self.id, pence=self.pence, quoted=command.quoted)

    @applies(PriceSet)
    def _price_set(self, event: PriceSet) -> None:
        self.pence = event.pence

    @applies(ProductSold)
    def _sold(self, event: ProductSold) -> None:
        self.taken, self.quoted = event.pence, event.quoted


CARELESS = Service("products", aggregates=(Careless,))


def _priced(world: World) -> Sequence[Command]:
    return [SetPrice(product=world.id("p"), pence=100, seen=0)]


def _raise_by(kind: type[Any], pence: int) -> Callable[[World], Play]:
    async def raise_price(world: World) -> Play:
        status = "refused"
        while status == "refused":  # read again, and decide again
            read = await world.load(kind, "p")
            yield ""
            status = (await world.send(SetPrice(product=world.id("p"), pence=read.pence + pence, seen=read.version))).status
            yield ""
        world.ended[f"by {pence}"] = "completed"

    return raise_price


def _sell(kind: type[Any]) -> Callable[[World], Play]:
    async def sell(world: World) -> Play:
        quote = await world.load(kind, "p")
        yield ""
        sold = await world.send(SellProduct(product=world.id("p"), quoted=quote.pence, seen=quote.version))
        world.ended["sale"] = sold.status

    return sell


async def _prices_after_two_raises(system: System, kind: type[Any]) -> set[int]:
    return {
        (await world.load(kind, "p")).pence
        async for world in every_order(system, _priced, _raise_by(kind, 5), _raise_by(kind, 7))
    }


async def test_without_it_one_of_two_updates_is_lost_in_some_order(over: Over) -> None:
    assert await _prices_after_two_raises(await over(CARELESS), Careless) == {105, 107, 112}


async def test_with_it_no_update_is_lost_in_any_order(over: Over) -> None:
    assert await _prices_after_two_raises(await over(SERVICE), Product) == {112}


async def _sales(system: System, kind: type[Any]) -> set[tuple[str, int, int]]:
    """How a sale ended, with what was quoted and taken, in every order with a raise of the price."""
    found = set()
    async for world in every_order(system, _priced, _sell(kind), _raise_by(kind, 5)):
        product = await world.load(kind, "p")
        found.add((world.ended["sale"], product.quoted, product.taken))
    return found


async def test_without_it_a_saga_takes_another_price_than_it_quoted(over: Over) -> None:
    assert ("done", 100, 105) in await _sales(await over(CARELESS), Careless)


async def test_with_it_the_quoted_price_is_taken_or_the_saga_is_refused(over: Over) -> None:
    assert await _sales(await over(SERVICE), Product) == {("done", 100, 100), ("done", 105, 105), ("refused", 0, 0)}
