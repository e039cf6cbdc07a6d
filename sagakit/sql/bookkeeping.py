"""Checkpoints with their leases, the inbox, and what is parked: always inside the caller's transaction."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Float, cast, exists, extract, func, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel, col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import LeaseLost
from sagakit.messages import RecordedEvent
from sagakit.sql.tables import CheckpointRow, InboxRow, ParkedRow

BEHIND = "waits behind an earlier event of its stream"


def _now(session: AsyncSession) -> ColumnElement[float]:
    """Return the database's clock where it has one for all; on SQLite every process shares this machine's clock."""
    if session.get_bind().dialect.name == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()), Float)
    return literal(time.time())


async def insert_if_new(session: AsyncSession, row: type[SQLModel], **values: Any) -> bool:
    """Insert a row unless its primary key is there; answer whether it was new."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(row).values(**values).on_conflict_do_nothing()
    result = await session.exec(statement)
    return bool(result.rowcount)


async def take_lease(session: AsyncSession, name: str, owner: str, seconds: float) -> tuple[int, int, str | None] | None:
    """Take or renew the lease on a checkpoint; return (epoch, position, event id), or None while another owner holds it.

    The epoch grows with each change of owner, so that a former owner's writes are refused.
    """
    await insert_if_new(session, CheckpointRow, name=name, position=0, epoch=0, owner="", leased_until=0.0)
    now = _now(session)
    mine, free = col(CheckpointRow.owner) == owner, col(CheckpointRow.leased_until) < now
    for condition, step in ((mine, 0), (free, 1)):
        statement = (
            update(CheckpointRow)
            .where(col(CheckpointRow.name) == name, condition)
            .values(owner=owner, leased_until=now + seconds, epoch=col(CheckpointRow.epoch) + step)
            .returning(col(CheckpointRow.epoch), col(CheckpointRow.position), col(CheckpointRow.event_id))
            .execution_options(synchronize_session=False)
        )
        if row := (await session.exec(statement)).first():
            return int(row[0]), int(row[1]), row[2]
    return None


async def release_lease(session: AsyncSession, name: str, owner: str) -> None:
    """Give the lease up, so that another process need not wait for its end."""
    statement = update(CheckpointRow).where(col(CheckpointRow.name) == name, col(CheckpointRow.owner) == owner)
    await session.exec(statement.values(owner="", leased_until=0.0))


async def advance(
    session: AsyncSession, name: str, epoch: int, old: int, new: int, *, event_id: str | None = None, seconds: float | None = None
) -> None:
    """Move a checkpoint from ``old`` to ``new``, and renew its lease when ``seconds`` are given.

    ``event_id`` is the id of the event at ``new``: what a restored log is recognised by (failures A9). Where ``new`` is ``old``
    it is a fence for what else the transaction writes. Raises `LeaseLost` when another epoch or position stands there.
    """
    values: dict[str, Any] = {"position": new}
    if new != old:
        values["event_id"] = event_id
    if seconds is not None:
        values["leased_until"] = _now(session) + seconds
    statement = (
        update(CheckpointRow)
        .where(col(CheckpointRow.name) == name, col(CheckpointRow.epoch) == epoch, col(CheckpointRow.position) == old)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if (await session.exec(statement)).rowcount != 1:
        raise LeaseLost(f"{name}: another process leads now, nothing was written behind position {old}")


async def enter_inbox(session: AsyncSession, consumer: str, recorded: RecordedEvent) -> bool:
    """Note that the consumer handles this event; False means that it did before."""
    return await insert_if_new(
        session,
        InboxRow,
        consumer=consumer,
        event_id=str(recorded.id),
        stream=recorded.stream,
        version=recorded.version,
        handled_at=datetime.now(UTC),
    )


async def standing(session: AsyncSession, consumer: str, recorded: RecordedEvent) -> Literal["new", "handled", "behind"]:
    """Tell whether the event is new to the consumer, was handled, or stands behind a parked event of its stream."""
    handled = exists().where(col(InboxRow.consumer) == consumer, col(InboxRow.event_id) == str(recorded.id))
    parked = exists().where(col(ParkedRow.consumer) == consumer, col(ParkedRow.stream) == recorded.stream)
    row = (await session.exec(select(handled, parked))).one()
    return "handled" if row[0] else "behind" if row[1] else "new"


async def park(session: AsyncSession, consumer: str, recorded: RecordedEvent, reason: str) -> None:
    """Put an event aside, whole, with the reason."""
    await insert_if_new(
        session,
        ParkedRow,
        consumer=consumer,
        event_id=str(recorded.id),
        producer=recorded.service,
        stream=recorded.stream,
        version=recorded.version,
        message=json.dumps(recorded.as_json(), ensure_ascii=False),
        reason=reason,
        parked_at=datetime.now(UTC),
    )
