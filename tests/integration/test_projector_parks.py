"""A projection's write that fails for the event's own sake parks the event; the machine's trouble does not (G5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Field, SQLModel, select

from sagakit import Projection, projects
from sagakit.errors import StoreUnavailable
from sagakit.messages import Metadata, RecordedEvent, new_event
from sagakit.sql.tables import ParkedRow
from sagakit.system import OpenService
from tests.support.deliveries import apply_or_park
from tests.support.shop import SERVICES, Added, Noted
from tests.support.stores import open_counting


class SmallRow(SQLModel, table=True):
    __tablename__ = "small"
    name: str = Field(primary_key=True, sa_type=String(10))
    note: str


class Small(Projection, name="small", table=SmallRow):
    @projects(Noted)
    async def _noted(self, session: Any, event: Noted, _recorded: RecordedEvent) -> None:  # noqa: C901 one case a fault
        match event.text:
            case "twice":
                await session.exec(text("insert into small (name, note) values ('a', 'x'), ('a', 'y')"))
            case "no text":
                session.add(SmallRow(name="b", note=None))
            case "no row":
                await session.get_one(SmallRow, "nobody")
            case "no value":
                session.add(SmallRow(name="c", note=object()))
            case "too long" if session.get_bind().dialect.name == "postgresql":
                session.add(SmallRow(name="x" * 11, note=""))
            case "no number" if session.get_bind().dialect.name == "postgresql":
                await session.exec(text("select cast(:given as int)"), params={"given": 2**40})
            case "out of range" if session.get_bind().dialect.name == "postgresql":
                await session.exec(text("select 2147483647 + 1"))
            case "lost" if session.get_bind().dialect.name == "postgresql":
                await session.exec(text("select pg_terminate_backend(pg_backend_pid())"))
            case "lost":
                raise OperationalError("insert", {}, ConnectionError("gone"), connection_invalidated=True)
            case "locked":
                raise OperationalError("insert", {}, Exception("database is locked"))
            case "no table":
                await session.exec(text("insert into nowhere values (1)"))
            case _:
                session.add(SmallRow(name=event.text[:10], note=""))

    @projects(Added)
    async def _added(self, session: Any, event: Added, _recorded: RecordedEvent) -> None:
        session.add(SmallRow(name="added", note=""))


@pytest.fixture(params=["sqlite", "postgres"])
async def counting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as opened:
        await opened.tables.create([SmallRow])
        yield opened


def _noted(note: str, stream: str, version: int = 1) -> RecordedEvent:
    envelope = new_event(Noted(text=note), Metadata(correlation_id="c"))
    return RecordedEvent.of(
        envelope, service="s", stream=stream, version=version, position=version, recorded_at=datetime.now(UTC)
    )


async def _apply(counting: OpenService, *events: RecordedEvent) -> None:
    async with counting.tables.transaction() as session:
        for event in events:
            await apply_or_park(Small(), SERVICES.registry, session, "small", event)


@pytest.mark.parametrize("fault", ["twice", "no text", "no row", "no value", "too long", "no number", "out of range"])
async def test_a_write_that_can_never_succeed_parks_its_event(counting: OpenService, fault: str) -> None:
    if fault in ("too long", "no number", "out of range") and counting.tables.engine.dialect.name == "sqlite":
        pytest.skip("SQLite takes this")
    await _apply(counting, _noted(fault, "counter-bad"), _noted("later", "counter-bad", 2), _noted("good", "counter-good"))
    async with counting.tables.transaction() as session:
        parked = (await session.exec(select(ParkedRow.stream, ParkedRow.version).order_by(ParkedRow.version))).all()
        assert [tuple(row) for row in parked] == [("counter-bad", 1), ("counter-bad", 2)]
        assert (await session.exec(select(SmallRow.name))).all() == ["good"]


@pytest.mark.parametrize("fault", ["lost", "locked", "no table"])
async def test_the_machines_trouble_parks_nothing(counting: OpenService, fault: str) -> None:
    with pytest.raises(StoreUnavailable if fault == "lost" else Exception):
        await _apply(counting, _noted("good", "counter-good"), _noted(fault, "counter-a"))
    async with counting.tables.transaction() as session:
        assert (await session.exec(select(ParkedRow))).all() == []
        assert (await session.exec(select(SmallRow))).all() == [], "the batch comes again, whole"
