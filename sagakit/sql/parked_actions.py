"""What a person may do with an event that waits: retry, edit or drop it, with a reason, written down in the same transaction."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid_utils.compat import uuid7

from sagakit.errors import InvalidInput, SagakitError
from sagakit.messages import RecordedEvent, Registry
from sagakit.sql import inbox, parking
from sagakit.sql.tables import ParkedActionRow, ParkedRow


@dataclass(frozen=True)
class Action:
    """Who acts, and why. Raises `InvalidInput` without a reason."""

    actor: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse what would leave no trace."""
        if not self.reason.strip() or not self.actor.strip():
            raise InvalidInput("an action on a parked event needs an actor and a reason: say --reason TEXT")


@dataclass(frozen=True)
class WaitingStream:
    """A stream whose head keeps its later events waiting."""

    consumer: str
    producer: str
    stream: str
    version: int
    event_id: str
    state: str
    behind: int
    attempts: int
    due_at: datetime | None
    reason: str
    since: datetime


async def waiting_streams(session: AsyncSession, consumer: str | None = None) -> list[WaitingStream]:
    """List the streams that wait, with their heads, by consumer and stream."""
    place: Any = (col(ParkedRow.consumer), col(ParkedRow.producer), col(ParkedRow.stream))
    lowest = (
        sa.select(*place, func.min(ParkedRow.version).label("version"), func.count().label("rows")).group_by(*place).subquery()
    )
    statement = (
        select(ParkedRow, lowest.c.rows)
        .join(lowest, (ParkedRow.version == lowest.c.version) & _same(lowest.c))
        .order_by(*place, col(ParkedRow.event_id))
    )
    if consumer is not None:
        statement = statement.where(ParkedRow.consumer == consumer)
    found: dict[tuple[str, str, str], WaitingStream] = {}
    for row, rows in (await session.exec(statement)).all():
        due_at = datetime.fromtimestamp(row.due_at, UTC) if row.state == "retrying" else None
        found.setdefault(
            (row.consumer, row.producer, row.stream),
            WaitingStream(
                row.consumer, row.producer, row.stream, row.version, row.event_id,
                row.state, rows - 1, row.attempts, due_at, row.reason, row.parked_at,
            ),
        )  # fmt: skip
    return list(found.values())


def _same(columns: Any) -> Any:
    return (
        (col(ParkedRow.consumer) == columns.consumer)
        & (col(ParkedRow.producer) == columns.producer)
        & (col(ParkedRow.stream) == columns.stream)
    )


async def find(session: AsyncSession, consumer: str, event_id: str) -> ParkedRow | None:
    """Find a waiting event and hold it: a consumer that is trying it just now is waited for."""
    statement = select(ParkedRow).where(ParkedRow.consumer == consumer, ParkedRow.event_id == event_id)
    return (await session.exec(statement.with_for_update().execution_options(populate_existing=True))).first()


async def retry(session: AsyncSession, row: ParkedRow, action: Action) -> None:
    """Make a head due now, with all its attempts anew; whoever handles its consumer's events tries it, in order.

    Raises `InvalidInput` for one that waits behind another.
    """
    head = await _head_of(session, row)
    if head.event_id != row.event_id:
        raise InvalidInput(
            f"{row.stream} version {row.version} waits behind version {head.version}: retry or drop {head.event_id} first"
        )
    await _note(session, row, "retry", action)
    row.state, row.attempts, row.due_at = "retrying", 0, time.time()
    session.add(row)


async def retry_all(session: AsyncSession, consumer: str | None, action: Action) -> int:
    """Make every parked event due now; return how many there were."""
    statement = select(ParkedRow).where(ParkedRow.state == "parked").order_by(col(ParkedRow.consumer), col(ParkedRow.event_id))
    if consumer is not None:
        statement = statement.where(ParkedRow.consumer == consumer)
    rows = (await session.exec(statement.with_for_update())).all()
    for row in rows:
        await _note(session, row, "retry", action)
        row.state, row.attempts, row.due_at = "retrying", 0, time.time()
        session.add(row)
    return len(rows)


async def edit(session: AsyncSession, row: ParkedRow, data: dict[str, Any], registry: Registry, action: Action) -> None:
    """Replace what the event says; the message as it came is kept. Raises `InvalidInput` for what does not load."""
    event = replace(parking.event_of(row.message), data=json.dumps(data, ensure_ascii=False))
    require_readable(registry, event)
    await _note(session, row, "edit", action)
    row.original = row.original or row.message
    row.message = parking.message_of(event)
    session.add(row)


def require_readable(registry: Registry, event: RecordedEvent) -> None:
    """Refuse an event that today's code cannot read."""
    try:
        registry.decode_all(event)
    except SagakitError as error:
        raise InvalidInput(f"the new data does not load: {error}") from error


async def drop(session: AsyncSession, row: ParkedRow, action: Action) -> None:
    """Count an event as handled, without its effect, and let the next one of its stream go on."""
    event = parking.event_of(row.message)
    await _note(session, row, "drop", action)
    await inbox.enter(session, row.consumer, [event])
    await inbox.note_heads(session, row.consumer, [event], effects=0)
    await parking.release(session, row)


async def _head_of(session: AsyncSession, row: ParkedRow) -> ParkedRow:
    statement = (
        select(ParkedRow)
        .where(ParkedRow.consumer == row.consumer, ParkedRow.producer == row.producer, ParkedRow.stream == row.stream)
        .order_by(col(ParkedRow.version), col(ParkedRow.event_id))
        .limit(1)
    )
    return (await session.exec(statement)).one()


async def _note(session: AsyncSession, row: ParkedRow, action: str, by: Action) -> None:
    session.add(
        ParkedActionRow(
            id=str(uuid7()),
            consumer=row.consumer,
            event_id=row.event_id,
            stream=row.stream,
            version=row.version,
            action=action,
            actor=by.actor,
            reason=by.reason,
            message=row.message,
            at=datetime.now(UTC),
        )
    )


async def actions_on(session: AsyncSession, consumer: str, event_id: str) -> list[ParkedActionRow]:
    """List what was done with an event, the oldest first."""
    statement = select(ParkedActionRow).where(ParkedActionRow.consumer == consumer, ParkedActionRow.event_id == event_id)
    return list((await session.exec(statement.order_by(col(ParkedActionRow.id)))).all())


async def counts(session: AsyncSession) -> dict[str, int]:
    """Count what waits, by state."""
    statement = select(ParkedRow.state, func.count()).group_by(col(ParkedRow.state))
    return dict((await session.exec(statement)).all())
