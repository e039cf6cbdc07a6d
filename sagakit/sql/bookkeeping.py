"""Checkpoints with their leases: always inside the caller's transaction."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Float, cast, extract, func, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel, col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import LeaseLost
from sagakit.sql.tables import CheckpointRow


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
