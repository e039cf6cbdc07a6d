"""A log that goes back under its readers, as after a restore, stops them loudly (failures A9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Field, SQLModel

from sagakit import Projection, projects
from sagakit.cli.doctor import _service
from sagakit.errors import LogWentBack
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.memory.bus import MemoryBus
from sagakit.messages import Registry
from sagakit.ports import Append, Subscription
from sagakit.projector import Projector
from sagakit.shared_log import SharedLog
from sagakit.system import OpenService
from tests.support.shop import Added, added
from tests.support.stores import open_counting


class TotalRow(SQLModel, table=True):
    __tablename__ = "went_back_totals"
    counter: str = Field(primary_key=True)
    total: int = 0


class Totals(Projection, name="went_back_totals", table=TotalRow):
    @projects(Added)
    async def added(self, session: Any, event: Added, recorded: Any) -> None:
        await session.merge(TotalRow(counter=recorded.stream, total=event.amount))


@pytest.fixture(params=["sqlite", "postgres"])
async def restored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    """A log whose last two events were published and are gone."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as opened:
        for version in range(3):
            await opened.store.append(Append("counter-a", version, (added(),)))
        leader = Leader(opened.tables, "relay", "before", 30)
        await leader.take()
        await leader.advance(await opened.store.head())
        await leader.release()
        async with opened.tables.transaction() as session:
            await (await session.connection()).execute(text("delete from events where version > 1"))
        yield opened


async def test_the_relay_stops_and_names_the_remedy_a9(restored: OpenService) -> None:
    subscription = Subscription("relay", "counting", frozenset({"counter.added"}))
    leader = Leader(restored.tables, "relay", "after", 30)
    feed = Feed(subscription, SharedLog(restored.store), leader, MemoryBus(), 10, 0.01)
    with pytest.raises(LogWentBack, match=r"counting ends at position 1, and its checkpoint relay stands at 3: .* one backup"):
        await asyncio.wait_for(feed.run(), 20)


async def test_the_projector_stops_as_well_a9(restored: OpenService) -> None:
    leader = Leader(restored.tables, "relay", "after", 30)
    projector = Projector(Totals(), restored.store, restored.tables, Registry([Added]), leader, 0.01)
    with pytest.raises(LogWentBack):
        await asyncio.wait_for(projector.run(), 20)


async def test_doctor_says_so_a9(restored: OpenService) -> None:
    class Opened:
        @asynccontextmanager
        async def look(self, _name: str) -> AsyncIterator[OpenService]:
            yield restored

    states = {(state, "the log went back" in detail) for _, state, detail in await _service(Opened(), "counting")}  # type: ignore[arg-type]
    assert ("wrong", True) in states
