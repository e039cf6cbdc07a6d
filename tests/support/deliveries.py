"""Events of the counters as a consumer gets them, an effect that can be made to fail, and a look at what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.consumer import Consumer
from sagakit.messages import RecordedEvent, Registry
from sagakit.patience import Patience
from sagakit.projection import Projection
from sagakit.projector import applier_of
from sagakit.sql.tables import ConsumerRow, HeadRow, ParkedRow
from sagakit.system import OpenService
from tests.support.counted import CountedRow
from tests.support.shop import added

FAR = 1e12
"""Long after every pause between attempts."""


def event(stream: str, version: int) -> RecordedEvent:
    """Make one event of a counter; its amount is its version."""
    return RecordedEvent.of(
        added(version), service="counting", stream=stream, version=version, position=version, recorded_at=datetime.now(UTC)
    )


def events(stream: str, last: int) -> list[RecordedEvent]:
    """Make a counter's events from version 1."""
    return [event(stream, version) for version in range(1, last + 1)]


class Summing:
    """Adds each event up in `CountedRow`; what is in ``poison``, by stream and version, fails after it has written."""

    def __init__(self, *poison: tuple[str, int]) -> None:
        self.poison = set(poison)
        self.tried: list[tuple[str, int]] = []

    async def __call__(self, session: Any, event: RecordedEvent) -> None:
        self.tried.append((event.stream, event.version))
        row = await session.get(CountedRow, event.stream) or CountedRow(counter=event.stream)
        row.total, row.events, row.order = row.total + event.version, row.events + 1, f"{row.order}{event.version} "
        session.add(row)
        if (event.stream, event.version) in self.poison:
            await session.flush()
            raise ValueError("poison")


def consumer_of(opened: OpenService, effect: Any, attempts: int = 3, pause: float = 0.01, **more: Any) -> Consumer:
    """Make the consumer *c*."""
    return Consumer("c", opened.tables, Patience(attempts, pause), effect=effect, **more)


async def exhaust(consumer: Consumer) -> None:
    """Try again, whatever the pauses, until nothing is left to be tried."""
    while await consumer.retrier.retry_due(FAR):
        pass


async def orders(opened: OpenService) -> dict[str, str]:
    """Read in which order each stream's events took effect."""
    async with opened.tables.transaction() as session:
        return {row.counter: row.order.strip() for row in (await session.exec(select(CountedRow))).all()}


async def waiting(opened: OpenService) -> list[tuple[str, int, str, int]]:
    """Read the waiting room: stream, version, state, attempts."""
    async with opened.tables.transaction() as session:
        rows = (await session.exec(select(ParkedRow).order_by(col(ParkedRow.stream), col(ParkedRow.version)))).all()
    return [(row.stream, row.version, row.state, row.attempts) for row in rows]


async def heads(opened: OpenService) -> dict[str, tuple[int, int]]:
    """Read each stream's last version and its effects."""
    async with opened.tables.transaction() as session:
        return {row.stream: (row.version, row.effects) for row in (await session.exec(select(HeadRow))).all()}


async def counted(opened: OpenService) -> ConsumerRow:
    """Read the row of consumer *c*."""
    async with opened.tables.transaction() as session:
        return (await session.exec(select(ConsumerRow).where(ConsumerRow.consumer == "c"))).one()


def order(last: int, but: Sequence[int] = ()) -> str:
    """Write the order of a whole stream."""
    return " ".join(str(version) for version in range(1, last + 1) if version not in but)


async def apply_or_park(
    projection: Projection, registry: Registry, session: AsyncSession, consumer: str, recorded: RecordedEvent
) -> None:
    """Apply one event as a projector would that tries it once."""
    await applier_of(projection, registry, consumer, Patience(attempts=1)).one_by_one(session, [recorded])
