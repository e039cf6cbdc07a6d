"""What is risked by the quick path, without and with the strict one for high amounts (failures E)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sagakit import Command
from tests.support.interleaving import Play, World, every_order
from tests.support.isolation.by_value import SERVICE, STRICT_FROM, FillTill, NotePayment, Till, payment_of

Over = Callable[..., Any]


def _filled(world: World) -> Sequence[Command]:
    return [FillTill(till=world.id("till"), pence=100)]


def _pay(name: str, pence: int, choose: Callable[[str, int], Command]) -> Callable[[World], Play]:
    """Look whether there is enough, then pay."""

    async def pay(world: World) -> Play:
        is_enough = (await world.load(Till, "till")).pence >= pence
        yield ""
        world.ended[name] = (await world.send(choose(world.id("till"), pence))).status if is_enough else "refused"

    return pay


def _always_quick(till: str, pence: int) -> Command:
    return NotePayment(till=till, pence=pence)


async def _lowest(over: Over, one: int, two: int, choose: Callable[[str, int], Command]) -> int:
    """The least that is in the till after two payments, over all orders of their steps."""
    pays = _pay("one", one, choose), _pay("two", two, choose)
    return min([(await world.load(Till, "till")).pence async for world in every_order(await over(SERVICE), _filled, *pays)])


async def test_without_it_two_high_payments_overdraw_the_till_by_as_much(over: Over) -> None:
    assert await _lowest(over, 90, 95, _always_quick) == -85


@pytest.mark.parametrize(("one", "two"), [(90, 95), (50, 100), (49, 100), (51, 49), (49, 49)])
async def test_with_it_less_than_the_threshold_is_ever_missing(over: Over, one: int, two: int) -> None:
    lowest = await _lowest(over, one, two, payment_of)
    assert lowest > -STRICT_FROM
    if min(one, two) >= STRICT_FROM:
        assert lowest >= 0


async def test_a_quick_payment_risks_its_own_amount_and_no_more(over: Over) -> None:
    """The anomaly is still there below the threshold: that is what this countermeasure buys its speed with."""
    assert await _lowest(over, 49, 100, payment_of) == -49
