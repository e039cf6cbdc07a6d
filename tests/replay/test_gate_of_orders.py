"""A bad change of `order_fulfilment` is stopped at the gate, with the instance and the event; the same, patched, passes (G7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from aggregates.payment import AuthorisePayment
from sagakit import Command, Saga
from sagakit.service import ServiceMap
from sagakit.temporal.gate import Gate, Replayed
from tests.support.changing import with_a_sleep_before
from worker.services import SERVICES

HISTORIES = Path(__file__).parent / "histories"
ALL_WAYS = sorted(path.stem for path in HISTORIES.glob("order-fulfilment*.json"))
FAST_WAYS = [way for way in ALL_WAYS if ".fast" in way]
WAYS = [way for way in ALL_WAYS if way not in FAST_WAYS]
Replay = Callable[..., Awaitable[Replayed]]


def unguarded(_: Saga, command: Command) -> bool:
    """The bad change: it waits before the payment, in open sagas as well."""
    return isinstance(command, AuthorisePayment)


def patched(saga: Saga, command: Command) -> bool:
    """The same for sagas that have not come there yet."""
    return isinstance(command, AuthorisePayment) and saga.patched("ask first")


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    original = Saga.step

    async def replayed(way: str, change: Callable[[Saga, Command], bool], events: int | None = None) -> Replayed:
        """Replay a recorded order with a changed saga; so many events of it are an order that is still open."""
        monkeypatch.setattr(Saga, "step", with_a_sleep_before(original, change))
        history = WorkflowHistory.from_json("order-fulfilment/7", (HISTORIES / f"{way}.json").read_text())
        if events is not None:
            history = WorkflowHistory(history.workflow_id, history.events[:events])
        return await Gate(ServiceMap(SERVICES)).replay(history, is_open=events is not None)

    return replayed


@pytest.mark.parametrize("way", [way for way in WAYS if way != "order-fulfilment.no-stock"])
async def test_a_closed_order_would_take_another_path_g7(way: str, replay: Replay) -> None:
    found = await replay(way, unguarded)
    assert (found.verdict, found.workflow_id) == ("another path", "order-fulfilment/7")
    assert "at event 11, ActivityTaskScheduled" in found.why, found.why
    assert (await replay(way, patched)).verdict == "same"


@pytest.mark.parametrize("way", FAST_WAYS)
async def test_a_closed_order_of_fast_steps_would_take_another_path_g7(way: str, replay: Replay) -> None:
    assert (await replay(way, unguarded)).verdict == "another path"
    assert (await replay(way, patched)).verdict == "same"


async def test_what_never_came_to_the_change_is_the_same_g7(replay: Replay) -> None:
    assert (await replay("order-fulfilment.no-stock", unguarded)).verdict == "same"


async def test_an_open_order_breaks_behind_the_change_and_not_before_it_g7(replay: Replay) -> None:
    behind = await replay("order-fulfilment", unguarded, 16)
    assert (behind.verdict, behind.workflow_id) == ("breaks", "order-fulfilment/7")
    assert "at event 11, ActivityTaskScheduled" in behind.why
    assert (await replay("order-fulfilment", patched, 16)).verdict == "same"
    assert (await replay("order-fulfilment", unguarded, 5)).verdict == "same"
