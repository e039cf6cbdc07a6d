"""What a feed keeps in its service's database beside its checkpoint: always inside the caller's transaction.

Events that no bus takes stand in the table of the parked, under the name of the subscription's checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import and_, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.messages import RecordedEvent
from sagakit.sql import parking
from sagakit.sql.subscriptions import checkpoint_of
from sagakit.sql.tables import ParkedRow, ReplayRow, SubscriptionRow


@dataclass(frozen=True)
class Orders:
    """What a feed looks up once in a while: how its subscription stands, and what people asked for.

    ``held`` are the streams with an event that could not be sent; ``due`` those of them that are to be tried again.
    """

    subscription: SubscriptionRow | None
    held: frozenset[str]
    due: tuple[str, ...]
    replay: ReplayRow | None


async def orders(session: AsyncSession, consumer: str) -> Orders:
    """Look up a consumer's orders."""
    name = checkpoint_of(consumer)
    row = (await session.exec(select(SubscriptionRow).where(SubscriptionRow.consumer == consumer))).first()
    held = frozenset((await session.exec(select(ParkedRow.stream).where(ParkedRow.consumer == name).distinct())).all())
    due = await _due(session, name) if held else ()
    open_replays = select(ReplayRow).where(ReplayRow.consumer == consumer, col(ReplayRow.ended_at).is_(None))
    replay = (await session.exec(open_replays.order_by(col(ReplayRow.requested_at)).limit(1))).first()
    return Orders(row, held, due, replay)


async def _due(session: AsyncSession, name: str) -> tuple[str, ...]:
    """List the streams whose first event is to be tried again: somebody set it due, or dropped what it stood behind."""
    earlier = aliased(ParkedRow)
    first = select(func.min(earlier.version)).where(col(earlier.consumer) == name, col(earlier.stream) == col(ParkedRow.stream))
    is_due = or_(col(ParkedRow.state) == "behind", and_(col(ParkedRow.state) == "retrying", col(ParkedRow.due_at) <= time.time()))
    found = select(ParkedRow.stream).where(ParkedRow.consumer == name, col(ParkedRow.version) == first.scalar_subquery(), is_due)
    return tuple((await session.exec(found.limit(100))).all())


async def set_aside(session: AsyncSession, consumer: str, event: RecordedEvent, reason: str, state: parking.State) -> None:
    """Put an event aside that cannot be sent, or that stands behind such a one. Repeating it changes nothing."""
    attempts = 1 if state == "parked" else 0
    await parking.set_aside(session, checkpoint_of(consumer), event, reason, state, attempts=attempts)


async def aside(session: AsyncSession, consumer: str, stream: str, limit: int = 100) -> list[ParkedRow]:
    """List what was put aside of one stream, in its order."""
    found = select(ParkedRow).where(ParkedRow.consumer == checkpoint_of(consumer), ParkedRow.stream == stream)
    return list((await session.exec(found.order_by(col(ParkedRow.version)).limit(limit))).all())


async def note_detached(session: AsyncSession, consumer: str, position: int | None) -> None:
    """Record behind which position a consumer was left alone, or that it no longer is."""
    statement = update(SubscriptionRow).where(col(SubscriptionRow.consumer) == consumer).values(detached_at=position)
    await session.exec(statement)


async def replayed(session: AsyncSession, replay_id: str, position: int, sent: int, *, is_done: bool) -> None:
    """Record how far a replay came."""
    values = {"position": position, "sent": col(ReplayRow.sent) + sent, "ended_at": datetime.now(UTC) if is_done else None}
    statement = update(ReplayRow).where(col(ReplayRow.id) == replay_id).values(**values)
    await session.exec(statement.execution_options(synchronize_session=False))
