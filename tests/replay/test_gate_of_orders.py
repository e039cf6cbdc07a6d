"""A bad change of `order_fulfilment` is stopped at the gate, with the instance and the event; the same, patched, passes (G7)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from sagakit import Saga
from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate, Replayed
from tests.support.changed import patched, unguarded
from worker.services import SERVICES
from workflows.order_fulfilment import OrderFulfilment

HISTORIES = Path(__file__).parent / "histories"
WAYS = sorted(path.stem for path in HISTORIES.glob("order-fulfilment*.json"))


async def _replayed(way: str, saga: type[Saga], events: int | None = None) -> Replayed:
    """Replay a recorded order with a changed saga; so many events of it are an order that is still open."""
    services = [
        dataclasses.replace(service, sagas=tuple(saga if each is OrderFulfilment else each for each in service.sagas))
        for service in SERVICES
    ]
    history = WorkflowHistory.from_json("order-fulfilment/7", (HISTORIES / f"{way}.json").read_text())
    if events is not None:
        history = WorkflowHistory(history.workflow_id, history.events[:events])
    return await Gate(ServiceMap(services)).replay(history, is_open=events is not None)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "order-fulfilment.no-stock"])
async def test_a_closed_order_would_take_another_path_g7(way: str) -> None:
    found = await _replayed(way, unguarded.OrderFulfilment)
    assert (found.verdict, found.workflow_id) == ("another path", "order-fulfilment/7")
    assert "at event 11, ActivityTaskScheduled" in found.why, found.why
    assert (await _replayed(way, patched.OrderFulfilment)).verdict == "same"


async def test_what_never_came_to_the_change_is_the_same_g7() -> None:
    assert (await _replayed("order-fulfilment.no-stock", unguarded.OrderFulfilment)).verdict == "same"


async def test_an_open_order_breaks_behind_the_change_and_not_before_it_g7() -> None:
    behind = await _replayed("order-fulfilment", unguarded.OrderFulfilment, 16)
    assert (behind.verdict, behind.workflow_id) == ("breaks", "order-fulfilment/7")
    assert "at event 11, ActivityTaskScheduled" in behind.why
    assert (await _replayed("order-fulfilment", patched.OrderFulfilment, 16)).verdict == "same"
    assert (await _replayed("order-fulfilment", unguarded.OrderFulfilment, 5)).verdict == "same"
