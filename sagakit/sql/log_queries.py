"""Rare questions to the event log, asked in SQL beside the store: whose conversation, whose id; and a log written anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, text

from sagakit.messages import RecordedEvent
from sagakit.sql.read_models import SqlReadModels

# As the index events_correlation has it, on each database.
_CORRELATION = {"sqlite": "json_extract(metadata, '$.correlation_id')", "postgresql": "metadata ->> 'correlation_id'"}
_PAGE = 500


async def last_versions(tables: SqlReadModels, correlation_id: str) -> dict[str, int]:
    """Return the streams that hold events of a conversation, each with the version of the last one."""
    expression = _CORRELATION[tables.engine.dialect.name]
    query = text(f"select stream, max(version) from events where {expression} = :correlation group by stream")  # noqa: S608 our text
    async with tables.transaction() as session:
        rows = (await (await session.connection()).execute(query, {"correlation": correlation_id})).all()
    return {str(stream): int(version) for stream, version in rows}


async def events_named(tables: SqlReadModels, ids: Iterable[UUID]) -> dict[str, dict[str, Any]]:
    """Find events by their ids: the stream, version and type of those that are there."""
    wanted = sorted(set(ids))
    # By the column's own type, so that the index of ids answers.
    kind = Uuid() if tables.engine.dialect.name == "postgresql" else Text()
    query = text("select id, stream, version, type from events where id in :ids").bindparams(
        bindparam("ids", expanding=True, type_=kind)
    )
    found: dict[str, dict[str, Any]] = {}
    async with tables.transaction() as session:
        for begin in range(0, len(wanted), _PAGE):
            page = wanted[begin : begin + _PAGE] if isinstance(kind, Uuid) else [str(e) for e in wanted[begin : begin + _PAGE]]
            rows = (await (await session.connection()).execute(query, {"ids": page})).all()
            found |= {str(row[0]): {"stream": row[1], "version": row[2], "type": row[3]} for row in rows}
    return found


async def write_anew(tables: SqlReadModels, events: Iterable[RecordedEvent]) -> None:
    """Write events into an empty SQLite log as they were elsewhere; positions are new. All of them or nothing.

    Without a hash: the chain of the log that they come from covered bytes that masking may have changed.
    """
    query = text(
        "insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)"
        " values (:stream, :version, :id, :type, :schema_version, :data, :metadata, :recorded_at)"
    )
    rows = [
        {name: getattr(event, name) for name in ("stream", "version", "type", "schema_version", "data")}
        | {"id": str(event.id), "metadata": event.metadata_text, "recorded_at": event.recorded_at.isoformat()}
        for event in events
    ]
    async with tables.transaction() as session:
        for begin in range(0, len(rows), _PAGE):
            await (await session.connection()).execute(query, rows[begin : begin + _PAGE])
