"""`sagas unmatched`: events that were for a saga, and that none took."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from sqlmodel import col, select

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs
from sagakit.cli.session import open_system, session_of
from sagakit.log import read_to_head
from sagakit.saga_journal import EventUnmatched
from sagakit.service import saga_consumer
from sagakit.sql.tables import ParkedRow
from sagakit.system import OpenService

_COLUMNS = ("service", "saga", "type", "event_id", "since", "why")


@runs
async def unmatched(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only the sagas of this service.")] = None,
    as_json: AsJson = False,
) -> None:
    """List events that came after their saga had ended, and those that wait since their saga has never begun.

    What a saga that runs has received, and not waited for, is in `sagas show`.
    """
    session, rows = session_of(context), []
    async with open_system(session) as system:
        for name in session.services.with_a_log(service):
            async with system.look(name) as opened:
                if opened is not None and opened.service.sagas:
                    rows += await _late(opened) + await _waiting(opened)
    if as_json:
        print_json(rows)
    else:
        print_table(f"{len(rows)} events", _COLUMNS, [[row[column] for column in _COLUMNS] for row in rows])


async def _late(opened: OpenService) -> list[dict[str, Any]]:
    rows = []
    async for event in read_to_head(opened.store):
        if event.type == EventUnmatched.event_name:
            told = json.loads(event.data)
            at = event.recorded_at.isoformat()
            rows.append({"service": opened.service.name, **told, "since": at, "why": "its saga had ended"})
    return rows


async def _waiting(opened: OpenService) -> list[dict[str, Any]]:
    consumers = [saga_consumer(opened.service, saga) for saga in opened.service.sagas]
    async with opened.tables.transaction() as session:
        statement = select(ParkedRow).where(col(ParkedRow.consumer).in_(consumers), col(ParkedRow.state) != "behind")
        found = (await session.exec(statement.order_by(col(ParkedRow.parked_at)))).all()
    return [
        {
            "service": opened.service.name,
            "saga": row.consumer.rpartition(".")[2],
            "type": json.loads(row.message).get("type", ""),
            "event_id": row.event_id,
            "producer": row.producer,
            "stream": row.stream,
            "since": row.parked_at.isoformat(),
            "why": f"{row.state}: {row.reason}",
        }
        for row in found
    ]
