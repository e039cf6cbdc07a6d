"""Tables of the tests about versions of events: a table's class may be made only once in a process."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class RunRow(SQLModel, table=True):
    __tablename__ = "version_runs"
    run: str = Field(primary_key=True)
    seen: str = ""
