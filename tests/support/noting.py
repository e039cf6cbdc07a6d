"""A service that notes, row by row, which process handled which event of another one in which order."""

from __future__ import annotations

import os
from typing import Any

from sqlmodel import Field, SQLModel

from sagakit import Projection, Service, projects
from sagakit.service import ServiceMap
from tests.support.shop import Added, Counter, Hoard

PARTITIONS = 8


class NoteRow(SQLModel, table=True):
    __tablename__ = "notes"
    number: int | None = Field(default=None, primary_key=True)
    stream: str
    version: int
    process: int


class Notes(Projection, name="notes", table=NoteRow):
    @projects(Added)
    async def _added(self, session: Any, event: Added, recorded: Any) -> None:
        session.add(NoteRow(stream=recorded.stream, version=recorded.version, process=os.getpid()))


def services(name: str) -> ServiceMap:
    """List them; the noting one by a name of the test's own, for its queues are on a broker that others use too."""
    return ServiceMap([Service("counting", aggregates=(Counter, Hoard)), Service(name, projections=(Notes,))])
