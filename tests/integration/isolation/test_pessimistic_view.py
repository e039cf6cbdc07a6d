"""Dirty read of credit that is taken back, without and with the order of steps that frees it last (failures E)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sagakit import Command
from sagakit.testing import rehearsing
from tests.support.interleaving import Play, Script, World, every_order, saga
from tests.support.isolation.pessimistic_view import (
    SERVICE,
    CancelOrder,
    Customer,
    FreeCredit,
    OrderCalledOff,
    ReserveCredit,
    StopDelivery,
    TakeCreditBack,
)

Over = Callable[..., Any]


def _one_order(world: World) -> Sequence[Command]:
    return [ReserveCredit(customer=world.id("ann"), pence=80)]


def _order_more(world: World) -> Play:
    return saga(world, "order", (ReserveCredit(customer=world.id("ann"), pence=80), None))


def _credit_first(world: World) -> Play:
    """Call the order off, and have to take its credit back, since its delivery has left."""
    free = FreeCredit(customer=world.id("ann"), pence=80), TakeCreditBack(customer=world.id("ann"), pence=80)
    return saga(world, "cancellation", free, (StopDelivery(delivery=world.id("d")), None))


def _credit_last(world: World) -> Play:
    """Call the order off in the order of `CancelOrder`."""
    free = FreeCredit(customer=world.id("ann"), pence=80), None
    return saga(world, "cancellation", (StopDelivery(delivery=world.id("d")), None), free)


async def _most_owed(over: Over, cancel: Script) -> int:
    worlds = [world async for world in every_order(await over(SERVICE), _one_order, cancel, _order_more)]
    assert {world.ended["cancellation"] for world in worlds} == {"compensated: has_left"}
    return max([(await world.load(Customer, "ann")).owes for world in worlds])


async def test_without_it_another_saga_spends_credit_that_is_taken_back(over: Over) -> None:
    assert await _most_owed(over, _credit_first) == 160


async def test_with_it_no_saga_sees_credit_that_is_not_free_for_good(over: Over) -> None:
    assert await _most_owed(over, _credit_last) == 80


async def test_the_saga_of_the_example_frees_credit_only_where_nothing_is_undone(temporal_binary: Path) -> None:
    event = OrderCalledOff(cancellation="c", customer="ann", delivery="d", pence=80)
    async with rehearsing([SERVICE]) as stage:
        refused = await stage.play(CancelOrder, event, faults={1: "refused"})
        assert [call.command for call in refused.calls] == ["stop_delivery"]
        done = await stage.play(CancelOrder, event)
        assert [(call.command, call.effect) for call in done.calls] == [("stop_delivery", "done"), ("free_credit", "done")]
        assert list(done.kinds.values()) == ["pivot", "retriable"]
