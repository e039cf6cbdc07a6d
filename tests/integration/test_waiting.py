"""An import that cannot go on says so: a parked event ends its document's wait, and stillness is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sagakit.messages import RecordedEvent
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.sql import parking
from sagakit.system import System
from tests.support.shop import added
from worker import waiting
from worker.services import SERVICES


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(load_settings(data=tmp_path), ServiceMap(SERVICES)) as opened:
        yield opened


async def _park(system: System, service: str, consumer: str, stream: str) -> None:
    event = RecordedEvent.of(added(), service=service, stream=stream, version=1, position=1, recorded_at=datetime.now(UTC))
    async with (await system.open(service)).tables.transaction() as session:
        await parking.set_aside(session, consumer, event, "no good", "parked")


def _nothing(_name: str, _done: int, _total: int) -> None:
    pass


async def test_a_document_whose_event_is_parked_has_an_outcome(system: System) -> None:
    await _park(system, "orders", "orders.saga.order-fulfilment", "order-1")
    await _park(system, "reporting", "reporting.projection.product_sales", "return-C2")
    await _park(system, "orders", "elsewhere", "stock-3")

    async def parked() -> dict[str, str]:
        return await waiting.parked_events(system)

    async with asyncio.timeout(10):
        stuck = await waiting.wait_for_outcomes(
            system, {"1", "C2"}, parked, _nothing, asyncio.Event(), waiting.Stillness(print, "")
        )
    assert stuck == {
        "1": "orders.saga.order-fulfilment set an event of order-1 aside: no good",
        "C2": "reporting.projection.product_sales set an event of return-C2 aside: no good",
    }


async def test_stillness_is_told_once_and_stop_ends_the_wait(system: System) -> None:
    said: list[str] = []
    stop = asyncio.Event()

    async def parked() -> dict[str, str]:
        return {}

    stillness = waiting.Stillness(said.append, "Is it on?", seconds=0.1)
    numbers = {"1", "2", "3", "4"}
    wait = asyncio.create_task(waiting.wait_for_outcomes(system, numbers, parked, _nothing, stop, stillness))
    async with asyncio.timeout(20):
        while not said:
            await asyncio.sleep(0.05)
        await asyncio.wait([wait], timeout=1)
        stop.set()
        assert await wait == {}
    assert said == ["Nothing has moved for 0.1 s: waiting for outcomes, still open: 4 (1, 2, 3, ...). Is it on?"]


def test_what_moves_is_not_still() -> None:
    said: list[str] = []
    stillness = waiting.Stillness(said.append, "", seconds=0)
    for left in ({"a", "b"}, {"b"}, {"c"}):
        stillness.look(left, "things")
    assert said == []
    stillness.look({"c"}, "things")
    assert len(said) == 1
