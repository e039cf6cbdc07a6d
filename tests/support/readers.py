"""The counters with a read model of their own, and another service that reads them over the bus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Field, SQLModel

from sagakit import Projection, Service, projects
from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.service import ServiceMap
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import InboxRow
from sagakit.system import OpenService
from tests.support.shop import Added, Counter, Hoard


class HereRow(SQLModel, table=True):
    __tablename__ = "readers_here"
    counter: str = Field(primary_key=True)


class ThereRow(SQLModel, table=True):
    __tablename__ = "readers_there"
    counter: str = Field(primary_key=True)


class Here(Projection, name="readers_here", table=HereRow):
    @projects(Added)
    async def _added(self, session: Any, event: Added, recorded: Any) -> None:
        await session.merge(HereRow(counter=recorded.stream))


class There(Projection, name="readers_there", table=ThereRow):
    @projects(Added)
    async def _added(self, session: Any, event: Added, recorded: Any) -> None:
        await session.merge(ThereRow(counter=recorded.stream))


READERS = ServiceMap(
    [Service("counting", aggregates=(Counter, Hoard), projections=(Here,)), Service("reading", projections=(There,))]
)
THERE = "reading.projection.readers_there"
OWED = Subscription(THERE, "counting", frozenset({"counter.added"}), 1, 1000)


async def handle_all(reading: OpenService, events: Sequence[RecordedEvent], consumer: str = THERE) -> None:
    """Write what a consumer writes when it has handled these events."""
    async with reading.tables.transaction() as session:
        for event in events:
            await insert_if_new(
                session, InboxRow, consumer=consumer, event_id=str(event.id), stream=event.stream, version=event.version,
                handled_at=datetime.now(UTC),
            )  # fmt: skip
