"""A projection's handler that takes several events at once: the same guarantees as one by one, on both databases (G2, G3, G5)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlmodel import Field, SQLModel, col, select

from aggregates.order import Order, OrderPlaced
from sagakit import Event, Projection, RecordedEvent, Service, projects, projects_batch
from sagakit.consumer import Consumer
from sagakit.leadership import Leader
from sagakit.messages import Metadata, new_event
from sagakit.ports import Append
from sagakit.projector import Projector, effects_of
from sagakit.service import ServiceMap
from sagakit.system import OpenService
from tests.support.deliveries import consumer_of, exhaust, heads, waiting
from tests.support.shop import SERVICES, Added, Noted
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class SeenRow(SQLModel, table=True):
    __tablename__ = "seen_in_batches"
    number: int | None = Field(default=None, primary_key=True)
    stream: str
    version: int


class Seen(Projection, name="seen_in_batches", table=SeenRow):
    """Notes events: those that add in batches, each other by itself; what adds 13 fails, after it has written."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    @projects_batch(Added)
    async def _added(self, session: Any, events: Sequence[tuple[Added, RecordedEvent]]) -> None:
        self.calls.append([recorded.version for _, recorded in events])
        await self._note(session, [recorded for _, recorded in events])
        if any(event.amount == 13 for event, _ in events):
            raise ValueError("thirteen")

    @projects(Noted)
    async def _noted(self, session: Any, _event: Noted, recorded: RecordedEvent) -> None:
        self.calls.append([-recorded.version])
        await self._note(session, [recorded])

    async def _note(self, session: Any, events: Sequence[RecordedEvent]) -> None:
        session.add_all([SeenRow(stream=event.stream, version=event.version) for event in events])
        await session.flush()


@pytest.fixture
async def seeing(counting: OpenService) -> OpenService:
    await counting.tables.create([SeenRow])
    return counting


def _consumer(opened: OpenService, projection: Projection) -> Consumer:
    return consumer_of(opened, None, 2, effects=effects_of(projection, SERVICES.registry))


def _events(*meanings: Event, traceparents: Sequence[str | None] = ()) -> list[RecordedEvent]:
    """Record events one after the other in one stream."""
    metadata = [Metadata(correlation_id="c", traceparent=given) for given in traceparents] or [
        Metadata(correlation_id="c")
    ] * len(meanings)
    return [
        RecordedEvent.of(
            new_event(meaning, about),
            service="counting",
            stream="counter-a",
            version=version,
            position=version,
            recorded_at=datetime.now(UTC),
        )
        for version, (meaning, about) in enumerate(zip(meanings, metadata, strict=True), 1)
    ]


async def _seen(opened: OpenService) -> list[int]:
    async with opened.tables.transaction() as session:
        return [row.version for row in (await session.exec(select(SeenRow).order_by(col(SeenRow.number)))).all()]


async def test_neighbours_are_handed_over_together_in_their_order_g2_g3(seeing: OpenService) -> None:
    projection = Seen()
    batch = _events(Added(amount=1), Added(amount=2), Noted(text="n"), Added(amount=3), Noted(text="n"), Noted(text="n"))
    await _consumer(seeing, projection).handle(batch)
    assert projection.calls == [[1, 2], [-3], [4], [-5], [-6]]
    await _consumer(seeing, projection).handle(batch)  # once more: nothing is left to be done
    assert len(projection.calls) == 5
    assert await _seen(seeing) == [1, 2, 3, 4, 5, 6]
    assert await heads(seeing) == {"counter-a": (6, 6)}


async def test_one_that_fails_is_parked_alone_with_what_follows_it_in_its_stream_g5(seeing: OpenService) -> None:
    projection = Seen()
    others = [replace(event, stream="counter-b") for event in _events(Added(amount=1), Added(amount=2))]
    batch = _events(Added(amount=1), Added(amount=13), Added(amount=3))
    consumer = _consumer(seeing, projection)
    await consumer.handle([*batch, *others])
    assert projection.calls == [[1, 2, 3, 1, 2], [1], [2], [1], [2]]
    await exhaust(consumer)
    assert await waiting(seeing) == [("counter-a", 2, "parked", 2), ("counter-a", 3, "behind", 0)]
    assert await heads(seeing) == {"counter-a": (1, 1), "counter-b": (2, 2)}
    assert await _seen(seeing) == [1, 1, 2], "what a failed call wrote is gone"


async def test_a_projection_over_its_own_log_takes_batches_too_g3(seeing: OpenService) -> None:
    new = tuple(new_event(Added(amount=n), Metadata(correlation_id="c")) for n in range(1, 6))
    await seeing.store.append(Append("counter-a", 0, new))
    projection = Seen()
    projector = Projector(
        projection, seeing.store, seeing.tables, SERVICES.registry, Leader(seeing.tables, "projection seen", "one", 30), 0.02
    )
    running = asyncio.create_task(projector.run())
    try:
        await until(lambda: _are_seen(seeing, 5), "all to be projected")
    finally:
        projector.stop()
        await asyncio.wait_for(running, 20)
    assert projection.calls == [[1, 2, 3, 4, 5]]


async def _are_seen(opened: OpenService, count: int) -> bool:
    return len(await _seen(opened)) == count


@cache
def _document() -> ModuleType:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/delivery.md").read_text(), re.DOTALL)
    doc = ModuleType("delivery")
    exec(compile(block, "delivery.md", "exec", dont_inherit=True), doc.__dict__)  # noqa: S102 our own document
    return doc


async def test_the_handler_of_the_delivery_document_does_what_it_says(counting: OpenService) -> None:
    doc = _document()
    await counting.tables.create([doc.PlacedRow])
    registry = ServiceMap([Service("orders", aggregates=(Order,))]).registry
    given = {"customer": "ann", "placed_at": datetime(2010, 12, 1, 8), "lines": (), "total": Decimal(5)}  # noqa: DTZ001 a shop's own clock
    placed = [
        replace(event, stream=f"order-{number}")
        for number, country in enumerate(("France", "Japan"))
        for event in _events(OrderPlaced(order_id=str(number), country=country, **given))
    ]
    await consumer_of(counting, None, effects=effects_of(doc.PlacedOrders(), registry)).handle(placed)
    async with counting.tables.transaction() as session:
        rows = (await session.exec(select(doc.PlacedRow))).all()
        assert {row.order: row.country for row in rows} == {"0": "France", "1": "Japan"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("sagakit.telemetry.tracer", lambda: provider.get_tracer("test"))
    monkeypatch.setattr("sagakit.telemetry.is_traced", lambda: True)
    yield exporter
    provider.shutdown()


async def test_each_event_of_a_batch_has_its_span_in_its_own_trace_g8(
    seeing: OpenService, exporter: InMemorySpanExporter
) -> None:
    inside: list[bool] = []

    class Looking(Seen, name="looking", table=SeenRow):
        @projects_batch(Added)
        async def _added(self, session: Any, events: Sequence[tuple[Added, RecordedEvent]]) -> None:
            inside.append(trace.get_current_span().get_span_context().is_valid)

    traceparents = [f"00-{n:032x}-{n:016x}-01" if n != 2 else None for n in (1, 2, 3)]
    await _consumer(seeing, Looking()).handle(_events(*[Added(amount=1)] * 3, traceparents=traceparents))
    spans = sorted(exporter.get_finished_spans(), key=lambda span: str(span.parent and span.parent.trace_id))
    assert [span.name for span in spans] == ["process c"] * 3
    assert [span.parent.span_id if span.parent else None for span in spans] == [1, 3, None], "none is the child of another one"
    assert inside == [False]
