"""Sagas that lock, on a real Temporal server: one waits for the other, is refused, times out, or takes over from a dead one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from sagakit import Command
from sagakit.repository import Context, Repository
from sagakit.semantic_lock import Claim
from sagakit.steps import SagaResult
from sagakit.system import System
from tests.support.isolation.semantic_lock import (
    SERVICES,
    ApproveRevision,
    AskRevision,
    HoldOrder,
    LetOrderGo,
    Order,
    PlaceOrder,
    ReviseOrder,
)
from tests.support.running import running
from tests.support.waiting import until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Shop:
    """Two orders of one unit each, and revisions of both."""

    def __init__(self, system: System, client: Client) -> None:
        self.system, self.client, self.run = system, client, uuid.uuid4().hex[:8]
        self.a, self.b = f"{self.run}-a", f"{self.run}-b"

    async def ask(
        self, name: str, first: str, second: str, units: int, hour: int, **more: Any
    ) -> WorkflowHandle[Any, SagaResult]:
        """Begin a saga; the hour is its age."""
        asked_at = NOON + timedelta(hours=hour)
        await self.system.send(
            AskRevision(revision=f"{self.run}-{name}", first=first, second=second, units=units, asked_at=asked_at, **more),
            Context(),
        )
        return self.client.get_workflow_handle(f"revise-pair/{self.run}-{name}", result_type=SagaResult)

    async def order(self, name: str) -> Order:
        return await (await self.system.open("orders")).repository.load(Order, name)  # type: ignore[return-value]

    async def owner(self, name: str) -> str:
        """The revision that holds an order."""
        return ((await self.order(name)).lock.owner or "").rpartition("-")[2]

    async def units(self) -> tuple[int, int]:
        orders = await self.order(self.a), await self.order(self.b)
        assert [order.lock.owner for order in orders] == [None, None]
        return orders[0].units, orders[1].units


@pytest.fixture
async def shop(tmp_path: Path, client: Client) -> AsyncIterator[Shop]:
    async with running(SERVICES, tmp_path, client=client) as system:
        shop = Shop(system, client)
        for order in (shop.a, shop.b):
            await system.send(PlaceOrder(order=order, units=1), Context())
        yield shop


def _held_back(monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[Command], bool]) -> asyncio.Event:
    """Hold some commands back until the event is set."""
    may_go_on, real = asyncio.Event(), Repository.handle

    async def gated(self: Repository, aggregate: Any, command: Command, context: Context) -> Any:
        if is_meant(command):
            await may_go_on.wait()
        return await real(self, aggregate, command, context)

    monkeypatch.setattr(Repository, "handle", gated)
    return may_go_on


async def _result(handle: WorkflowHandle[Any, SagaResult]) -> SagaResult:
    await until(lambda: _is_there(handle), f"{handle.id} began")
    return await asyncio.wait_for(handle.result(), 30)


async def _has_been_told_to_wait(handle: WorkflowHandle[Any, SagaResult]) -> bool:
    if not await _is_there(handle):
        return False
    pending = (await handle.describe()).raw_description.pending_activities
    return any(each.attempt > 1 and each.last_failure.application_failure_info.type == "not_yet" for each in pending)


async def test_the_second_saga_waits_while_the_first_holds_the_order_and_then_succeeds(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = _held_back(monkeypatch, lambda c: isinstance(c, ApproveRevision) and c.revision.endswith("-first"))
    first = await shop.ask("first", shop.a, shop.b, 3, hour=1)
    await until(lambda: _eq(shop.owner(shop.b), "first"), "the first saga holds both")
    second = await shop.ask("second", shop.a, shop.b, 5, hour=2)
    await until(lambda: _has_been_told_to_wait(second), "the second saga waits")
    assert await shop.owner(shop.a) == "first"
    may_go_on.set()
    assert [(await _result(saga)).status for saga in (first, second)] == ["completed", "completed"]
    assert await shop.units() == (5, 5)


async def test_of_two_sagas_that_lock_in_opposite_orders_the_younger_is_refused_and_the_older_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = _held_back(monkeypatch, lambda c: isinstance(c, HoldOrder) and not c.claim.is_first)
    older = await shop.ask("older", shop.a, shop.b, 3, hour=1)
    younger = await shop.ask("younger", shop.b, shop.a, 5, hour=2)
    await until(lambda: _eq(shop.owner(shop.a), "older"), "the older saga holds its first")
    await until(lambda: _eq(shop.owner(shop.b), "younger"), "the younger saga holds its first")
    may_go_on.set()
    refused, done = await _result(younger), await _result(older)
    assert (refused.status, done.status) == ("compensated", "completed")
    assert "older and might come to wait" in refused.reason
    assert await shop.units() == (3, 3)


async def test_a_saga_in_the_queue_is_woken_by_the_event_that_hands_the_order_over(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks are given back in the reverse order: the saga that is handed the first of them finds the second one free."""
    may_go_on = _held_back(
        monkeypatch, lambda c: isinstance(c, LetOrderGo) and c.order == shop.b and c.claim.owner.endswith("-first")
    )
    first = await shop.ask("first", shop.a, shop.b, 3, hour=1, policy="queue")
    await until(lambda: _eq(shop.owner(shop.b), "first"), "the first saga holds both")
    second = await shop.ask("second", shop.a, shop.b, 5, hour=2, policy="queue")
    third = await shop.ask("third", shop.a, shop.b, 7, hour=3, policy="queue")

    async def waiting() -> int:
        return len((await shop.order(shop.a)).lock.queue)

    await until(lambda: _eq(waiting(), 2), "two sagas wait")
    await third.cancel()
    assert (await _result(third)).status == "compensated"
    assert await waiting() == 1, "a saga that is undone leaves the queue"
    assert await shop.owner(shop.a) == "first"
    may_go_on.set()
    for saga in (first, second):
        result = await _result(saga)
        assert (result.status, result.unmatched) == ("completed", ())
    assert await shop.units() == (5, 5)


async def test_a_wait_ends_with_the_time_of_its_step_and_names_who_held_the_order(shop: Shop) -> None:
    await shop.system.send(HoldOrder(order=shop.b, claim=_claim_of("revise-pair/gone", timedelta(hours=1))), Context())
    saga = await shop.ask("hasty", shop.a, shop.b, 3, hour=-1, within=timedelta(seconds=1))
    result = await _result(saga)
    assert result.status == "compensated"
    assert result.reason.startswith("hold_order was not done within 1 s: ")
    assert "it is REVISION_PENDING for revise-pair/gone until" in result.reason
    assert (await shop.order(shop.a)).lock.owner is None


async def test_an_order_is_taken_over_from_a_saga_that_does_not_come_back(shop: Shop) -> None:
    """Each attempt is judged by Temporal's clock, so the step that waits sees the lease end."""
    claim = _claim_of("revise-pair/gone", timedelta(seconds=1))
    await shop.system.send(HoldOrder(order=shop.a, claim=claim), Context())
    await shop.system.send(ReviseOrder(order=shop.a, owner="revise-pair/gone", units=99), Context())
    saga = await shop.ask("next", shop.a, shop.b, 3, hour=1)
    assert (await _result(saga)).status == "completed"
    recorded = await (await shop.system.open("orders")).store.load(f"order-{shop.a}")
    revised = [event.data for event in recorded if event.type == "order.revised"]
    assert [data.partition('"units":')[2] for data in revised] == ["99}", "1}", "3}"]
    late = await shop.system.send(ReviseOrder(order=shop.a, owner="revise-pair/gone", units=99), Context())
    assert (late.status, late.code) == ("refused", "lock_lost")
    assert await shop.units() == (3, 3)


def _claim_of(owner: str, lease: timedelta) -> Claim:
    return Claim(owner=owner, began=NOON, at=datetime.now(UTC), state="REVISION_PENDING", lease=lease)


async def _eq(value: Any, expected: Any) -> bool:
    return await value == expected


async def _is_there(handle: WorkflowHandle[Any, SagaResult]) -> bool:
    try:
        await handle.describe()
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND
        return False
    return True
