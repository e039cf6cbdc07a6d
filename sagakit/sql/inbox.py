"""The inbox and the heads of the streams, a batch in one statement each: always in the caller's transaction.

The statements are written so that each row is found by an index whatever the tables held when the database planned them: a
subquery per row cannot become a scan of an inbox that has grown since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import TextClause, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.messages import RecordedEvent
from sagakit.sql.tables import InboxRow

Key = tuple[str, str]
"""A producing service, and one of its streams."""

# The rows of a batch, handed over as one JSON text.
_ROWS = {
    "postgresql": """json_to_recordset(cast(:rows as json))
        as r(id text, producer text, stream text, version integer, effects integer, place integer)""",
    "sqlite": """(select json_extract(value, '$.id') as id, json_extract(value, '$.producer') as producer,
        json_extract(value, '$.place') as place,
        json_extract(value, '$.stream') as stream, json_extract(value, '$.version') as version,
        json_extract(value, '$.effects') as effects from json_each(:rows)) as r""",
}
_SURVEY = """
select r.place,
       (select 1 from sagakit_inbox i where i.consumer = :consumer and i.event_id = r.id),
       (select 1 from sagakit_parked p where p.consumer = :consumer and p.event_id = r.id),
       (select 1 from sagakit_parked p
        where p.consumer = :consumer and p.producer = r.producer and p.stream = r.stream limit 1),
       (select h.version from sagakit_heads h
        where h.consumer = :consumer and h.producer = r.producer and h.stream = r.stream)
from {rows}"""
_ENTER = """
insert into sagakit_inbox (consumer, event_id, stream, version, handled_at)
select :consumer, r.id, r.stream, r.version, :now from {rows} where true order by r.id
on conflict do nothing returning event_id"""
_NOTE = """
insert into sagakit_heads (consumer, producer, stream, version, effects)
select :consumer, r.producer, r.stream, r.version, r.effects from {rows} where true order by r.producer, r.stream
on conflict (consumer, producer, stream) do update set
    version = case when excluded.version > sagakit_heads.version then excluded.version else sagakit_heads.version end,
    effects = sagakit_heads.effects + excluded.effects
returning producer, stream, version"""
_FORGET = """
delete from sagakit_inbox where (consumer, event_id) in (
    select consumer, event_id from sagakit_inbox where handled_at < :before order by handled_at limit :limit{skip_locked})
returning consumer"""
_FORGOTTEN = text("update sagakit_consumers set forgotten = forgotten + :count where consumer = :consumer")
_TIME = InboxRow.__table__.c.handled_at.type  # type: ignore[attr-defined]
_STATEMENTS: Mapping[tuple[str, str], TextClause] = {
    (dialect, template): text(template.format(rows=rows)) for dialect, rows in _ROWS.items() for template in (_SURVEY, _NOTE)
} | {
    (dialect, _ENTER): text(_ENTER.format(rows=rows)).bindparams(bindparam("now", type_=_TIME))
    for dialect, rows in _ROWS.items()
} | {
    (dialect, _FORGET): text(_FORGET.format(skip_locked=skip_locked)).bindparams(bindparam("before", type_=_TIME))
    for dialect, skip_locked in (("postgresql", " for update skip locked"), ("sqlite", ""))
}  # fmt: skip


class Look(NamedTuple):
    """How one event stands with a consumer; ``head`` is the last version of its stream that took effect, 0 for none."""

    is_handled: bool
    is_waiting: bool
    is_behind: bool
    head: int


def key_of(event: RecordedEvent) -> Key:
    """Name the event's stream, whose order counts."""
    return event.service, event.stream


async def survey(session: AsyncSession, consumer: str, events: Sequence[RecordedEvent]) -> list[Look]:
    """Look, in one statement, which events were handled, wait themselves, or stand behind others of their stream that wait.

    The looks are in the order of the events.
    """
    found = sorted(await _run(session, _SURVEY, consumer, _rows_of(events)), key=itemgetter(0))
    return [Look(bool(handled), bool(waiting), bool(behind), head or 0) for _, handled, waiting, behind, head in found]


async def enter(session: AsyncSession, consumer: str, events: Sequence[RecordedEvent]) -> set[str]:
    """Note that the consumer handles these events; return the ids of those that it did not handle before.

    Waits for a transaction that is handling one of them, in this process or another (failures C3).
    """
    found = await _run(session, _ENTER, consumer, _rows_of(events), now=datetime.now(UTC))
    return {row[0] for row in found}


async def note_heads(session: AsyncSession, consumer: str, handled: Iterable[RecordedEvent], effects: int = 1) -> dict[Key, int]:
    """Move the heads of the streams over these events, each of which had so many effects; return where they stand then."""
    last: dict[Key, tuple[int, int]] = {}
    for event in handled:
        version, count = last.get(key_of(event), (0, 0))
        last[key_of(event)] = (max(version, event.version), count + effects)
    rows = [
        {"producer": producer, "stream": stream, "version": version, "effects": count}
        for (producer, stream), (version, count) in last.items()
    ]
    return {(row[0], row[1]): row[2] for row in await _run(session, _NOTE, consumer, rows)}


async def forget(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove at most ``limit`` inbox rows handled before a time, and count them with their consumers; return how many."""
    connection = await session.connection()
    statement = _STATEMENTS[connection.dialect.name, _FORGET]
    removed = [row[0] for row in await connection.execute(statement, {"before": before, "limit": limit})]
    for consumer in sorted(set(removed)):
        await connection.execute(_FORGOTTEN, {"consumer": consumer, "count": removed.count(consumer)})
    return len(removed)


def _rows_of(events: Sequence[RecordedEvent]) -> list[dict[str, object]]:
    return [
        {"id": event.id, "producer": event.service, "stream": event.stream, "version": event.version, "place": place}
        for place, event in enumerate(events)
    ]


async def _run(
    session: AsyncSession, template: str, consumer: str, rows: Sequence[Mapping[str, object]], **values: object
) -> Sequence[Any]:
    connection = await session.connection()
    statement = _STATEMENTS[connection.dialect.name, template]
    result = await connection.execute(statement, {"consumer": consumer, "rows": to_json(rows).decode(), **values})
    return result.all()
