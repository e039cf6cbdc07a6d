"""Outcomes of commands and inbox rows are forgotten after their time, in small batches, never while a repetition may come (G1, G3)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sagakit.errors import WrongSettings
from sagakit.repository import Context
from sagakit.retention import Retention
from sagakit.settings import load_settings
from sagakit.system import OpenService
from tests.support.counted import CountedRow
from tests.support.deliveries import Summing, consumer_of, counted, events, exhaust, heads, orders, waiting
from tests.support.shop import Add, Counter


async def test_only_what_is_over_its_time_is_forgotten_g1(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagakit.retention._BATCH", 3)
    monkeypatch.setattr("sagakit.retention._BREATH_SECONDS", 0.001)
    batches: list[int] = []
    forget = counting.store.forget_outcomes

    async def counted(before: datetime, limit: int) -> int:
        batches.append(await forget(before, limit))
        return batches[-1]

    monkeypatch.setattr(counting.store, "forget_outcomes", counted)
    for n in range(8):
        await counting.repository.handle(Counter, Add(counter=f"c{n}", amount=1), Context(key=f"k{n}"))
    retention = Retention.of_outcomes(counting.store, 1)
    assert await retention.forget() == 0
    assert await counting.store.outcome("k7") is not None
    assert await retention.forget(datetime.now(UTC) + timedelta(hours=2)) == 8
    assert batches == [0, 3, 3, 2]
    assert await counting.store.outcome("k7") is None
    assert len(await counting.store.load("counter-c7")) == 1, "events are never removed"


def test_a_retention_below_the_longest_retry_is_refused_at_start() -> None:
    with pytest.raises(WrongSettings, match="SAGAKIT_COMMAND_RETENTION_HOURS must be above SAGAKIT_LONGEST_RETRY_HOURS"):
        load_settings(command_retention_hours=10, longest_retry_hours=10)


async def test_inbox_rows_are_forgotten_in_batches_and_counted_while_events_go_on_arriving_c5(
    counting: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagakit.retention._BATCH", 3)
    monkeypatch.setattr("sagakit.retention._BREATH_SECONDS", 0.001)
    await counting.tables.create([CountedRow])
    consumer, batch = consumer_of(counting, Summing()), events("counter-a", 12)
    await consumer.handle(batch[:8])
    retention = Retention.of_inbox("counting", counting.tables, 1)
    assert await retention.forget() == 0
    forgetting = retention.forget(datetime.now(UTC) + timedelta(hours=2))
    removed, _ = await asyncio.gather(forgetting, consumer.handle(batch[8:]))
    removed += await retention.forget(datetime.now(UTC) + timedelta(hours=2))
    assert removed == 12
    assert (await counted(counting)).forgotten == 12
    assert await heads(counting) == {"counter-a": (12, 12)}, "the second guard stays"


async def test_a_redelivery_of_what_was_forgotten_is_parked_and_never_doubled_c4(counting: OpenService) -> None:
    await counting.tables.create([CountedRow])
    consumer, batch = consumer_of(counting, Summing()), events("counter-a", 3)
    await consumer.handle(batch)
    await Retention.of_inbox("counting", counting.tables, 1).forget(datetime.now(UTC) + timedelta(hours=2))
    await consumer_of(counting, Summing()).handle([batch[2]])
    await exhaust(consumer)
    assert await orders(counting) == {"counter-a": "1 2 3"}
    assert await waiting(counting) == [("counter-a", 3, "parked", 0)]


def test_an_inbox_retention_below_the_longest_redelivery_is_refused_at_start_c4() -> None:
    with pytest.raises(WrongSettings, match="SAGAKIT_INBOX_RETENTION_HOURS must be above SAGAKIT_LONGEST_REDELIVERY_HOURS"):
        load_settings(inbox_retention_hours=10, longest_redelivery_hours=10)
