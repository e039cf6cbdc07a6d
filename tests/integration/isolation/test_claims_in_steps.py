"""A step that claims a lock is judged by Temporal's clock, and one that has to wait leaves nothing behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from sagakit import Command
from sagakit.errors import NotYet
from sagakit.repository import Context
from sagakit.semantic_lock import Claim
from sagakit.steps import StepReply, StepRequest
from sagakit.system import OpenService, System
from sagakit.temporal.activities import command_activities
from tests.support.isolation.semantic_lock import SERVICES, HoldOrder, LetOrderGo, Order

Over = Callable[..., Any]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def _hold(owner: str, **more: Any) -> HoldOrder:
    claim = Claim(owner=owner, began=NOON, state="REVISION_PENDING", lease=LEASE, policy="wait", is_first=True, **more)
    return HoldOrder(order="o", claim=claim)


async def _orders(over: Over) -> OpenService:
    system: System = await over(*SERVICES)
    return await system.open("orders")


async def _step(orders: OpenService, command: Command, key: str, at: datetime, *, is_local: bool = False) -> StepReply:
    """Have a step's activity handle a command, as begun at this time by Temporal's clock."""
    made = {
        activity._Definition.must_from_callable(each).name: each
        for each in command_activities(orders.service, orders.repository, 1)
    }
    request = StepRequest(
        commands=[command.model_dump(mode="json")], key=key, is_undo=False, correlation_id="c", causation_id="e", actor="saga"
    )
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, started_time=at, is_local=is_local)
    reply: StepReply = await environment.run(made[command.command_name], request)
    return reply


async def _lock(orders: OpenService) -> Any:
    return (await orders.repository.load(Order, "o")).lock  # type: ignore[attr-defined]


async def test_a_lease_begins_when_temporals_server_began_the_attempt(over: Over) -> None:
    orders = await _orders(over)
    await _step(orders, _hold("s/1", at=NOON - timedelta(days=1)), "one", NOON + timedelta(hours=3))
    assert (await _lock(orders)).until == NOON + timedelta(hours=3) + LEASE


async def test_a_step_that_has_to_wait_is_tried_again_and_its_key_stays_free(over: Over) -> None:
    orders = await _orders(over)
    await _step(orders, _hold("s/1"), "one", NOON)
    head = await orders.store.head()
    with pytest.raises(ApplicationError, match="REVISION_PENDING for s/1") as wait:
        await _step(orders, _hold("s/2"), "two", NOON)
    assert (wait.value.type, wait.value.non_retryable, wait.value.category) == ("not_yet", False, ApplicationErrorCategory.BENIGN)
    assert (await orders.store.outcome("two/0"), await orders.store.head()) == (None, head)
    await _step(orders, LetOrderGo(order="o", claim=_hold("s/1").claim), "three", NOON)
    await _step(orders, _hold("s/2"), "two", NOON)
    assert (await _lock(orders)).owner == "s/2"


async def test_the_next_attempt_of_a_step_sees_that_the_lease_is_over(over: Over) -> None:
    orders = await _orders(over)
    await _step(orders, _hold("s/1"), "one", NOON)
    with pytest.raises(ApplicationError):
        await _step(orders, _hold("s/2"), "two", NOON + LEASE - timedelta(seconds=1))
    await _step(orders, _hold("s/2"), "two", NOON + LEASE)
    assert (await _lock(orders)).owner == "s/2"


async def test_no_claim_is_judged_by_the_clock_of_a_worker(over: Over) -> None:
    """A fast step is begun by the worker itself; an ordinary attempt follows it."""
    orders = await _orders(over)
    with pytest.raises(ApplicationError) as undecided:
        await _step(orders, _hold("s/1"), "one", NOON, is_local=True)
    assert not undecided.value.non_retryable
    assert (await _lock(orders)).owner is None


async def test_the_span_of_a_command_that_has_to_wait_is_no_error(over: Over) -> None:
    orders = await _orders(over)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        patch("sagakit.telemetry.tracer", lambda: provider.get_tracer("test")),
        patch("sagakit.repository.is_traced", lambda: True),
    ):
        await orders.repository.handle(Order, _hold("s/1"), Context())
        with pytest.raises(NotYet):
            await orders.repository.handle(Order, _hold("s/2"), Context())
    held, waited = exporter.get_finished_spans()
    assert (held.attributes or {})["sagakit.outcome"] == "done"
    assert (waited.attributes or {})["sagakit.outcome"] == "not_yet"
    assert waited.status.status_code is StatusCode.OK
    provider.shutdown()
