"""A read model of the counters, with handlers that can be made to fail after they have written."""

from __future__ import annotations

from typing import Any

from sqlmodel import Field, SQLModel

from sagakit import Projection, projects
from tests.support.shop import Added, Noted


class CountedRow(SQLModel, table=True):
    __tablename__ = "counted"
    counter: str = Field(primary_key=True)
    total: int = 0
    events: int = 0
    order: str = ""


class Counted(Projection, name="counted", table=CountedRow):
    """Sums a counter up; a note that says *poison* fails, after it has written."""

    async def _row(self, session: Any, recorded: Any) -> CountedRow:
        row = await session.get(CountedRow, recorded.stream) or CountedRow(counter=recorded.stream)
        row.events += 1
        row.order += f"{recorded.version} "
        session.add(row)
        return row

    @projects(Added)
    async def _added(self, session: Any, event: Added, recorded: Any) -> None:
        row = await self._row(session, recorded)
        row.total += event.amount

    @projects(Noted)
    async def _noted(self, session: Any, event: Noted, recorded: Any) -> None:
        row = await self._row(session, recorded)
        if event.text == "poison":
            row.total = -1
            await session.flush()
            raise ValueError("poison")
