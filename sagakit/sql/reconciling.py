"""What a consumer's own database knows of events that it is owed: always inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.sql.tables import ConsumerRow, HeadRow, InboxRow, ParkedActionRow, ParkedRow

_PAGE = 500


async def handled(session: AsyncSession, consumer: str, ids: Collection[str]) -> set[str]:
    """Return those of these events that stand in the inbox."""
    found = select(InboxRow.event_id).where(InboxRow.consumer == consumer, col(InboxRow.event_id).in_(ids))
    return set((await session.exec(found)).all()) if ids else set()


async def parked(session: AsyncSession, consumer: str, ids: Collection[str]) -> set[str]:
    """Return those of these events that wait for a person, or behind such a one, or to be tried again."""
    found = select(ParkedRow.event_id).where(ParkedRow.consumer == consumer, col(ParkedRow.event_id).in_(ids))
    return set((await session.exec(found)).all()) if ids else set()


async def dropped(session: AsyncSession, consumer: str, ids: Collection[str]) -> set[str]:
    """Return those of these events that a person dropped."""
    found = select(ParkedActionRow.event_id).where(
        ParkedActionRow.consumer == consumer, ParkedActionRow.action == "drop", col(ParkedActionRow.event_id).in_(ids)
    )
    return set((await session.exec(found)).all()) if ids else set()


async def last_handled(session: AsyncSession, consumer: str, streams: Collection[str]) -> dict[str, int]:
    """Return the highest version handled of each of these streams of which any was."""
    table = HeadRow if await _effects(session, consumer) is not None else InboxRow
    names, found = list(streams), dict[str, int]()
    for begin in range(0, len(names), _PAGE):
        statement = (
            select(table.stream, func.max(table.version))
            .where(col(table.consumer) == consumer, col(table.stream).in_(names[begin : begin + _PAGE]))
            .group_by(col(table.stream))
        )
        found.update((await session.exec(statement)).all())
    return found


async def forgotten(session: AsyncSession, consumer: str) -> int:
    """Return how many inbox rows were removed after their retention."""
    found = await session.exec(select(ConsumerRow.forgotten).where(ConsumerRow.consumer == consumer))
    return found.first() or 0


async def _effects(session: AsyncSession, consumer: str) -> int | None:
    return (await session.exec(select(func.sum(HeadRow.effects)).where(HeadRow.consumer == consumer))).one()


async def doubled(session: AsyncSession, consumer: str) -> int | None:
    """Return how many effects there were beyond one for each event handled; None where effects are not counted.

    One statement, so one moment.
    """
    effects = select(func.sum(HeadRow.effects)).where(HeadRow.consumer == consumer).scalar_subquery()
    rows = select(func.count()).select_from(InboxRow).where(InboxRow.consumer == consumer).scalar_subquery()
    removed = select(func.sum(ConsumerRow.forgotten)).where(ConsumerRow.consumer == consumer).scalar_subquery()
    row = (await session.exec(select(effects, rows, func.coalesce(removed, 0)))).one()
    return None if row[0] is None else max(0, int(row[0]) - int(row[1]) - int(row[2]))
