"""The consumer's inbox and its parking by key, on both databases (G3, G5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlmodel import select

from sagakit.consumer import Consumer
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.sql.tables import InboxRow, ParkedRow
from sagakit.system import OpenService
from tests.support.shop import added

FAR = 1e12


def _event(stream: str, version: int) -> RecordedEvent:
    return RecordedEvent.of(
        added(version),
        service="counting",
        stream=stream,
        version=version,
        position=version,
        recorded_at=datetime.now(UTC),
    )


async def _parked(counting: OpenService) -> list[tuple[str, int]]:
    async with counting.tables.transaction() as session:
        rows = (await session.exec(select(ParkedRow).order_by(ParkedRow.stream, ParkedRow.version))).all()
    return [(row.stream, row.version) for row in rows]


async def test_a_repeated_event_has_one_effect_g3(counting: OpenService) -> None:
    effects: list[int] = []

    async def effect(_session: Any, event: RecordedEvent) -> None:
        effects.append(event.version)

    consumer, event = Consumer("c", counting.tables, Patience(3), effect=effect), _event("counter-a", 1)
    await consumer.handle([event])
    await consumer.handle([event])
    assert effects == [1]


async def test_a_failed_effect_leaves_no_inbox_row_g3(counting: OpenService) -> None:
    attempts: list[int] = []

    async def effect(_session: Any, event: RecordedEvent) -> None:
        attempts.append(event.version)
        if len(attempts) < 3:
            raise ValueError("not yet")
        rows = (await _session.exec(select(InboxRow))).all()
        assert len(rows) == 1

    consumer = Consumer("c", counting.tables, Patience(5), effect=effect)
    await consumer.handle([_event("counter-a", 1)])
    assert await _parked(counting) == [("counter-a", 1)]
    assert await consumer.retrier.retry_due(FAR) == 1
    assert attempts == [1, 1, 1], "once with the batch, once alone, once from the waiting room"
    assert await _parked(counting) == []


async def test_a_poison_event_parks_its_stream_and_no_other_g5(counting: OpenService) -> None:
    effects: list[tuple[str, int]] = []

    async def effect(_session: Any, event: RecordedEvent) -> None:
        if event.stream == "counter-bad" and event.version == 1:
            raise ValueError("poison")
        effects.append((event.stream, event.version))

    consumer = Consumer("c", counting.tables, Patience(2), effect=effect)
    for event in (_event("counter-bad", 1), _event("counter-bad", 2), _event("counter-good", 1)):
        await consumer.handle([event])
    assert effects == [("counter-good", 1)]
    assert await _parked(counting) == [("counter-bad", 1), ("counter-bad", 2)]
