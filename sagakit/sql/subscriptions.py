"""The subscriptions that a producing service has recorded: always inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.ports import Subscription
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import CheckpointRow, ParkedRow, SubscriptionRow


def checkpoint_of(consumer: str) -> str:
    """Name the checkpoint that is a subscription's cursor."""
    return f"subscription {consumer}"


async def record(session: AsyncSession, subscription: Subscription, *, is_external: bool = False) -> None:
    """Record that a consumer is owed these events; one that is there takes the new types, partitions and limit.

    Other partitions than before are an exchange of queues: the former number stands beside the new one until it is done.
    """
    types = sorted(subscription.event_types)
    is_new = await insert_if_new(
        session,
        SubscriptionRow,
        consumer=subscription.consumer,
        event_types=types,
        partitions=subscription.partitions,
        backlog_limit=subscription.backlog_limit,
        is_external=is_external,
    )
    if is_new:
        return
    row = (await session.exec(select(SubscriptionRow).where(SubscriptionRow.consumer == subscription.consumer))).one()
    if row.partitions != subscription.partitions and row.former_partitions is None:
        row.former_partitions, row.partitions = row.partitions, subscription.partitions
    row.event_types, row.backlog_limit = types, subscription.backlog_limit
    session.add(row)


async def recorded(session: AsyncSession) -> list[SubscriptionRow]:
    """List the subscriptions, by name."""
    return list((await session.exec(select(SubscriptionRow).order_by(SubscriptionRow.consumer))).all())


def of_row(row: SubscriptionRow, producer: str) -> Subscription:
    """Read a recorded subscription."""
    types = frozenset(row.event_types)
    return Subscription(row.consumer, producer, types, row.partitions, row.backlog_limit, row.former_partitions)


async def queues_exchanged(session: AsyncSession, consumer: str, former_partitions: int) -> None:
    """Note that the former queues are gone; nothing changes when that is noted already."""
    statement = update(SubscriptionRow).where(
        col(SubscriptionRow.consumer) == consumer, col(SubscriptionRow.former_partitions) == former_partitions
    )
    await session.exec(statement.values(former_partitions=None))


async def note_trouble(session: AsyncSession, consumer: str, trouble: str | None) -> None:
    """Say why nothing reaches a consumer, or that it does again."""
    statement = update(SubscriptionRow).where(col(SubscriptionRow.consumer) == consumer).values(trouble=trouble)
    await session.exec(statement)


async def cursors(session: AsyncSession, declared: Collection[str]) -> dict[str, int]:
    """Return where the cursors stand of whom events are owed: not of the detached, nor of those that nobody declares."""
    rows = [row for row in await recorded(session) if row.detached_at is None and (row.is_external or row.consumer in declared)]
    found = select(CheckpointRow.name, CheckpointRow.position).where(
        col(CheckpointRow.name).in_([checkpoint_of(row.consumer) for row in rows])
    )
    positions: dict[str, int] = dict((await session.exec(found)).all())
    return {row.consumer: positions.get(checkpoint_of(row.consumer), 0) for row in rows}


async def begin_at(session: AsyncSession, consumer: str, position: int) -> None:
    """Let a new subscription begin behind a position; whatever cursor an earlier one of its name left is put aside."""
    name = checkpoint_of(consumer)
    await insert_if_new(session, CheckpointRow, name=name, position=position, epoch=0, owner="", leased_until=0.0)
    same = update(CheckpointRow).where(col(CheckpointRow.name) == name)
    await session.exec(same.values(position=position, event_id=None, epoch=col(CheckpointRow.epoch) + 1, owner=""))


async def remove(session: AsyncSession, consumer: str) -> bool:
    """Owe a consumer nothing any more, with its cursor and what could not be sent to it; False when there was none."""
    name = checkpoint_of(consumer)
    gone = await session.exec(delete(SubscriptionRow).where(col(SubscriptionRow.consumer) == consumer))
    await session.exec(delete(CheckpointRow).where(col(CheckpointRow.name) == name))
    await session.exec(delete(ParkedRow).where(col(ParkedRow.consumer) == name))
    return bool(gone.rowcount)
