"""The waiting room: retry, parking, order and restart safety in one table, always in the caller's transaction.

A row is *retrying* (due at a time), *parked* (for a person) or *behind* an earlier one of its stream. The lowest version of a
stream is its head; only a head is ever tried. `release` removes it and makes the next one due.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, and_, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, delete, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.messages import Metadata, RecordedEvent
from sagakit.sql import inbox
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import ParkedRow

State = Literal["retrying", "parked", "behind"]
Standing = Literal["new", "handled", "behind"]
BEHIND = "waits behind an earlier event of its stream"
_LONGEST_REASON = 2000
_event = TypeAdapter(RecordedEvent)
_earlier = aliased(ParkedRow)


async def set_aside(
    session: AsyncSession,
    consumer: str,
    event: RecordedEvent,
    reason: str,
    state: State,
    *,
    attempts: int = 0,
    due_at: float = 0.0,
) -> bool:
    """Put an event aside, whole, with the reason; False when it waits here already. ``due_at`` is in seconds since the epoch."""
    return await insert_if_new(
        session,
        ParkedRow,
        consumer=consumer,
        event_id=str(event.id),
        producer=event.service,
        stream=event.stream,
        version=event.version,
        message=message_of(event),
        reason=reason,
        parked_at=datetime.now(UTC),
        state=state,
        attempts=attempts,
        due_at=due_at,
    )


async def standing(session: AsyncSession, consumer: str, event: RecordedEvent) -> Standing:
    """Tell whether the event is new to the consumer, was handled, or waits here itself or behind another of its stream."""
    (look,) = await inbox.survey(session, consumer, [event])
    return "handled" if look.is_handled else "behind" if look.is_waiting or look.is_behind else "new"


async def due_heads(session: AsyncSession, consumer: str, now: float, limit: int = 100) -> list[ParkedRow]:
    """List the heads of streams that may be tried now, the longest due first: as they are, not locked (see `take`)."""
    statement = (
        select(ParkedRow)
        .where(ParkedRow.consumer == consumer, ParkedRow.state == "retrying", ParkedRow.due_at <= now, ~_has_earlier())
        .order_by(col(ParkedRow.due_at), col(ParkedRow.version))
        .limit(limit)
    )
    return list((await session.exec(statement)).all())


async def next_due(session: AsyncSession, consumer: str) -> float | None:
    """Return when the next row is due, or None when none is to be tried."""
    statement = select(func.min(ParkedRow.due_at)).where(ParkedRow.consumer == consumer, ParkedRow.state == "retrying")
    return (await session.exec(statement)).one()


async def take(session: AsyncSession, consumer: str, event_id: str) -> ParkedRow | None:
    """Lock a row that is to be tried, until the transaction ends; None when another process has it, or it is gone.

    It is a head: whoever would come before it in its stream is behind it in time (see `Applier`).
    """
    statement = (
        select(ParkedRow)
        .where(ParkedRow.consumer == consumer, ParkedRow.event_id == event_id, ParkedRow.state == "retrying", ~_has_earlier())
        .with_for_update(skip_locked=True, of=ParkedRow)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).first()


async def put_off(session: AsyncSession, row: ParkedRow, reason: str, state: State, attempts: int, due_at: float) -> None:
    """Say that a head failed again: when it is due, or that it is parked."""
    await session.exec(update(ParkedRow).where(*_is(row)).values(reason=reason, state=state, attempts=attempts, due_at=due_at))


async def release(session: AsyncSession, row: ParkedRow) -> None:
    """Remove a row that was handled or dropped; when it was the head of its stream, the next one is due at once."""
    await session.exec(delete(ParkedRow).where(*_is(row)))
    following = (
        select(ParkedRow.event_id, ParkedRow.state)
        .where(ParkedRow.consumer == row.consumer, ParkedRow.producer == row.producer, ParkedRow.stream == row.stream)
        .order_by(col(ParkedRow.version), col(ParkedRow.event_id))
        .limit(1)
    )
    head = (await session.exec(following)).first()
    if head is not None and head[1] == "behind":
        await _make_due(session, and_(col(ParkedRow.consumer) == row.consumer, col(ParkedRow.event_id) == head[0]))


async def release_stranded(session: AsyncSession, consumer: str) -> None:
    """Make due what is *behind* nothing any more: it arrived while the last one before it was released."""
    await _make_due(session, and_(col(ParkedRow.consumer) == consumer, col(ParkedRow.state) == "behind", ~_has_earlier()))


async def _make_due(session: AsyncSession, condition: ColumnElement[bool]) -> None:
    statement = update(ParkedRow).where(condition).values(state="retrying", attempts=0, due_at=time.time())
    await session.exec(statement.execution_options(synchronize_session=False))


def _is(row: ParkedRow) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(ParkedRow.consumer) == row.consumer, col(ParkedRow.event_id) == row.event_id


def _has_earlier() -> ColumnElement[bool]:
    """Say that a row of the same stream comes before this one."""
    lower = or_(
        col(_earlier.version) < col(ParkedRow.version),
        and_(col(_earlier.version) == col(ParkedRow.version), col(_earlier.event_id) < col(ParkedRow.event_id)),
    )
    same = (getattr(_earlier, name) == getattr(ParkedRow, name) for name in ("consumer", "producer", "stream"))
    return exists().where(*same, lower)


def message_of(event: RecordedEvent) -> str:
    """Write an event down, whole."""
    return json.dumps(event.as_json(), ensure_ascii=False)


def event_of(message: str) -> RecordedEvent:
    """Read what `message_of` wrote."""
    fields = json.loads(message)
    metadata = Metadata.model_validate(fields.pop("metadata"))
    return _event.validate_python(fields | {"metadata_text": metadata.model_dump_json()})


def reason_of(error: BaseException) -> str:
    """Say what went wrong in words that every database can keep."""
    text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
