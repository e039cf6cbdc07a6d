"""Keeps failed commands in a table of their service's database."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC

from sqlmodel import col, select

from sagakit.ports import FailedCommand
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.read_models import SqlReadModels
from sagakit.sql.tables import FailedCommandRow


class SqlFailureLog:
    """Implements the port `FailureLog`."""

    def __init__(self, tables: SqlReadModels) -> None:
        """Take the transactions over the service's tables."""
        self._tables = tables

    async def record(self, failed: FailedCommand) -> None:
        """See the port."""
        values = asdict(failed)
        values["fields_json"] = json.dumps(values.pop("fields"))
        async with self._tables.transaction() as session:
            await insert_if_new(session, FailedCommandRow, **values)

    async def find(self, *, correlation_id: str | None = None, stream: str | None = None) -> list[FailedCommand]:
        """See the port."""
        statement = select(FailedCommandRow).order_by(col(FailedCommandRow.recorded_at), col(FailedCommandRow.id))
        if correlation_id is not None:
            statement = statement.where(col(FailedCommandRow.correlation_id) == correlation_id)
        if stream is not None:
            statement = statement.where(col(FailedCommandRow.stream) == stream)
        async with self._tables.transaction() as session:
            rows = (await session.exec(statement)).all()
        return [_failed(row) for row in rows]


def _failed(row: FailedCommandRow) -> FailedCommand:
    values = row.model_dump()
    values["fields"] = json.loads(values.pop("fields_json"))
    if row.recorded_at.tzinfo is None:  # SQLite keeps no zone
        values["recorded_at"] = row.recorded_at.replace(tzinfo=UTC)
    return FailedCommand(**values)
