"""Holds consumers and projectors still: always inside the caller's transaction, which is that of the effect.

A consumer's row is locked, shared, by each of its effects; so when a pause is committed, no effect is under way, and none
begins before it is resumed. On SQLite the one writing transaction does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import Paused
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import ConsumerRow


async def make_known(session: AsyncSession, consumer: str) -> None:
    """Write a consumer's row, unless it is there: a row that is not there could not be locked."""
    await insert_if_new(session, ConsumerRow, consumer=consumer, partitions=[], repeats=0, forgotten=0)


async def refuse_if_paused(session: AsyncSession, consumer: str) -> None:
    """Keep the consumer from being paused until the transaction ends. Raises `Paused`."""
    statement = select(ConsumerRow.paused_by).where(ConsumerRow.consumer == consumer).with_for_update(read=True)
    if (paused_by := (await session.exec(statement)).first()) is not None:
        raise Paused(consumer, paused_by)


async def pause(session: AsyncSession, consumers: Sequence[str], by: str) -> None:
    """Hold consumers still, in place of whoever holds them; waits for the effects under way."""
    for consumer in consumers:
        await make_known(session, consumer)
    statement = update(ConsumerRow).where(col(ConsumerRow.consumer).in_(consumers)).values(paused_by=by)
    await session.exec(statement.execution_options(synchronize_session=False))


async def resume(session: AsyncSession, consumers: Sequence[str], by: str | None = None) -> bool:
    """Let consumers go on, if ``by`` holds them, or whoever does when it is None; answer whether somebody did."""
    wanted = col(ConsumerRow.paused_by).is_not(None) if by is None else col(ConsumerRow.paused_by) == by
    statement = update(ConsumerRow).where(col(ConsumerRow.consumer).in_(consumers), wanted).values(paused_by=None)
    return bool((await session.exec(statement.execution_options(synchronize_session=False))).rowcount)


async def holders(session: AsyncSession, consumers: Sequence[str]) -> set[str]:
    """Name who holds consumers still, none when all go on."""
    statement = select(ConsumerRow.paused_by).where(
        col(ConsumerRow.consumer).in_(consumers), col(ConsumerRow.paused_by).is_not(None)
    )
    return {found for found in (await session.exec(statement)).all() if found is not None}
