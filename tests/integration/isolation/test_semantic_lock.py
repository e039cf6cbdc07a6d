"""Dirty read, lost update and mixed pairs, without and with a semantic lock, in every order of the steps (failures E)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from sagakit import Aggregate, Command, Event, Service, applies, handles
from sagakit.semantic_lock import Claim
from tests.support.interleaving import Deadlock, Play, Script, Step, World, every_order, saga
from tests.support.isolation.semantic_lock import (
    SERVICES,
    ApproveRevision,
    AskRevision,
    BillOrder,
    HoldOrder,
    LetOrderGo,
    Order,
    OrderBilled,
    OrderPlaced,
    OrderRevised,
    PlaceOrder,
    PutBack,
    ReviseOrder,
    Revision,
)

Over = Callable[..., Any]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOO_MANY = 500


class OpenOrder(Aggregate, category="order"):
    """The order without the countermeasure: anybody revises and bills it at any time."""

    units: int = 0
    before: int = 0
    billed: int = 0

    @handles(PlaceOrder)
    def place(self, command: PlaceOrder) -> Event:
        return OrderPlaced(order=self.id, units=command.units)

    @handles(ReviseOrder)
    def revise(self, command: ReviseOrder) -> Event:
        return OrderRevised(order=self.id, units=command.units)

    @handles(PutBack)
    def put_back(self, _command: PutBack) -> Event:
        return OrderRevised(order=self.id, units=self.before)

    @handles(BillOrder)
    def bill(self, _command: BillOrder) -> Event:
        return OrderBilled(order=self.id, units=self.units)

    @applies(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.units = event.units

    @applies(OrderRevised)
    def _revised(self, event: OrderRevised) -> None:
        self.before, self.units = self.units, event.units

    @applies(OrderBilled)
    def _billed(self, event: OrderBilled) -> None:
        self.billed += event.units


OPEN = Service("orders", aggregates=(OpenOrder,)), Service("revisions", aggregates=(Revision,))
Policy = Literal["fail", "wait"]


def _given(world: World) -> Sequence[Command]:
    a, b = world.id("a"), world.id("b")
    asked = [
        AskRevision(revision=world.id(name), first=a, second=b, units=units, asked_at=NOON)
        for name, units in (("ok", 3), ("also-ok", 5), ("refused", TOO_MANY))
    ]
    return [PlaceOrder(order=a, units=1), PlaceOrder(order=b, units=1), *asked]


def _revise(name: str, units: int, *orders: str) -> Script:
    """Revise orders, and put them back when it is not approved."""

    def script(world: World) -> Play:
        return saga(world, name, *_revising(world, name, units, orders), (ApproveRevision(revision=world.id(name)), None))

    return script


def _revising(world: World, name: str, units: int, orders: Sequence[str]) -> list[Step]:
    return [
        (ReviseOrder(order=world.id(o), owner=f"s/{name}", units=units), PutBack(order=world.id(o), owner=f"s/{name}"))
        for o in orders
    ]


def _bill(world: World) -> Play:
    return saga(world, "bill", (BillOrder(order=world.id("a"), owner="s/bill"), None))


def _locked(policy: Policy, name: str, age: int, work: Callable[[World], Sequence[Step]], *orders: str) -> Script:
    """Do the work of a saga while it holds its orders."""

    def script(world: World) -> Play:
        claim = Claim(
            owner=f"s/{name}", began=NOON - timedelta(hours=age), state="REVISION_PENDING", lease=timedelta(days=1), policy=policy
        )
        holds: list[Step] = [
            (
                HoldOrder(order=world.id(order), claim=claim.model_copy(update={"is_first": number == 0})),
                LetOrderGo(order=world.id(order), claim=claim),
            )
            for number, order in enumerate(orders)
        ]
        return saga(world, name, *holds, *work(world), *((undo, None) for _, undo in holds))

    return script


def _locked_revision(policy: Policy, name: str, age: int, units: int, *orders: str) -> Script:
    def work(world: World) -> Sequence[Step]:
        return [*_revising(world, name, units, orders), (ApproveRevision(revision=world.id(name)), None)]

    return _locked(policy, name, age, work, *orders)


def _locked_pair(policy: Policy) -> tuple[Script, Script]:
    """An older and a younger saga, which lock the same orders in opposite orders and need no approval."""
    return (
        _locked(policy, "ok", 2, lambda world: _revising(world, "ok", 3, ("a", "b")), "a", "b"),
        _locked(policy, "also-ok", 1, lambda world: _revising(world, "also-ok", 5, ("b", "a")), "b", "a"),
    )


def _locked_bill(policy: Policy, age: int) -> Script:
    return _locked(policy, "bill", age, lambda world: [(BillOrder(order=world.id("a"), owner="s/bill"), None)], "a")


async def test_without_it_a_bill_is_written_over_units_that_are_put_back(over: Over) -> None:
    """Dirty read."""
    system = await over(*OPEN)
    orders = [
        await world.load(OpenOrder, "a") async for world in every_order(system, _given, _revise("refused", TOO_MANY, "a"), _bill)
    ]
    assert {order.units for order in orders} == {1}
    assert {order.billed for order in orders} == {1, TOO_MANY}


@pytest.mark.parametrize("age_of_bill", [1, 3])
@pytest.mark.parametrize("policy", ["fail", "wait"])
async def test_with_it_no_bill_is_written_over_units_that_are_put_back(over: Over, policy: Policy, age_of_bill: int) -> None:
    system = await over(*SERVICES)
    found = set()
    revision, bill = _locked_revision(policy, "refused", 2, TOO_MANY, "a"), _locked_bill(policy, age_of_bill)
    async for world in every_order(system, _given, revision, bill):
        order = await world.load(Order, "a")
        assert (order.units, order.lock.owner) == (1, None)
        found.add((world.ended["bill"], order.billed))
    assert found == {("completed", 1)} | ({("compensated: lock_held", 0)} if policy == "fail" else set())


async def test_without_it_what_one_saga_wrote_is_lost_when_another_puts_back(over: Over) -> None:
    """Lost update: the approved revision is gone, and the refused one is there."""
    system = await over(*OPEN)
    units = set()
    async for world in every_order(system, _given, _revise("refused", TOO_MANY, "a"), _revise("ok", 3, "a")):
        assert world.ended == {"refused": "compensated: too_many", "ok": "completed"}
        units.add((await world.load(OpenOrder, "a")).units)
    assert units == {3, TOO_MANY}


@pytest.mark.parametrize("policy", ["fail", "wait"])
async def test_with_it_what_a_saga_wrote_stays(over: Over, policy: Policy) -> None:
    system = await over(*SERVICES)
    found = set()
    sagas = _locked_revision(policy, "refused", 1, TOO_MANY, "a"), _locked_revision(policy, "ok", 2, 3, "a")
    async for world in every_order(system, _given, *sagas):
        order = await world.load(Order, "a")
        assert order.units == (3 if world.ended["ok"] == "completed" else 1)
        found.add(world.ended["ok"])
    assert found == {"completed"} | ({"compensated: lock_held"} if policy == "fail" else set())


async def test_without_it_a_pair_gets_half_of_each_of_two_revisions(over: Over) -> None:
    system = await over(*OPEN)
    pairs = {
        ((await world.load(OpenOrder, "a")).units, (await world.load(OpenOrder, "b")).units)
        async for world in every_order(system, _given, _revise("ok", 3, "a", "b"), _revise("also-ok", 5, "b", "a"))
    }
    assert {(3, 5), (5, 3)} & pairs


@pytest.mark.parametrize("policy", ["fail", "wait"])
async def test_with_it_two_sagas_that_lock_in_opposite_orders_neither_mix_nor_deadlock(over: Over, policy: Policy) -> None:
    system = await over(*SERVICES)
    ends, count = set(), 0
    older, younger = _locked_pair(policy)
    async for world in every_order(system, _given, older, younger):
        a, b = await world.load(Order, "a"), await world.load(Order, "b")
        assert (a.lock.owner, b.lock.owner) == (None, None)
        assert a.units == b.units
        assert (a.units == 1) == all("compensated" in end for end in world.ended.values())
        ends.add((world.ended["ok"], world.ended["also-ok"]))
        count += 1
    if policy == "wait":
        assert ends == {("completed", "completed"), ("completed", "compensated: lock_held_by_elder")}
    assert count > 20


async def test_without_an_age_two_sagas_that_wait_for_each_other_do_so_for_ever(
    over: Over, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison of ages is for: here each may wait for the other."""
    system = await over(*SERVICES)
    monkeypatch.setattr(Claim, "is_older_than", lambda _claim, _other: False)
    older, younger = _locked_pair("wait")
    with pytest.raises(Deadlock):
        async for _ in every_order(system, _given, older, younger):
            pass
