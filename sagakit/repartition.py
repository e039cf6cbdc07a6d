"""How many queues a consumer has, and how they are exchanged for another number while events flow.

The producing service records the new number and keeps the former one beside it until the old queues are gone; the consuming
service keeps the numbers that it still reads. Either may die at any moment, and goes on where it was (`Bus.retire`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import structlog
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import WrongSettings
from sagakit.leadership import Leader
from sagakit.ports import Bus, Handle, ReadModels, Refuse, Subscription
from sagakit.sql import subscriptions
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import ConsumerRow

_log = structlog.get_logger("sagakit.repartition")


def partitioned(given: Sequence[Subscription], partitions: Mapping[str, int]) -> list[Subscription]:
    """Give each subscription the number of partitions that is set for its consumer. Raises `WrongSettings` for unknown ones."""
    known = sorted({subscription.consumer for subscription in given})
    if unknown := sorted(set(partitions) - set(known)):
        raise WrongSettings(
            f"SAGAKIT_PARTITIONS names {', '.join(unknown)}, which no service of this list has as a consumer; "
            f"known: {', '.join(known) or 'none'}"
        )
    return [replace(subscription, partitions=partitions.get(subscription.consumer, 1)) for subscription in given]


async def exchanged(leader: Leader, bus: Bus, subscription: Subscription) -> bool:
    """Exchange a subscription's queues, if they are to be: false as long as nothing may be published to it.

    For the feed that leads, before it publishes. Raises `BusUnavailable` and `LeaseLost`.
    """
    former = subscription.former_partitions
    if former is None or former == subscription.partitions:
        return True
    if not await bus.retire(subscription, former):
        return False
    async with leader.transaction() as session:
        await leader.advance_within(session, leader.position)  # moves nothing: it refuses a process that leads no more
        await subscriptions.queues_exchanged(session, subscription.consumer, former)
    _log.info("queues exchanged", consumer=subscription.consumer, former=former, now=subscription.partitions)
    return True


async def consume_all(
    bus: Bus, tables: ReadModels, owed: Sequence[Subscription], handle: Handle, refuse: Refuse | None = None
) -> list[Callable[[], Awaitable[None]]]:
    """Consume what is owed to one consumer by all its producers, out of its queues and of former ones as long as there are any.

    Returns the functions that stop it.
    """
    producers = frozenset(subscription.producer for subscription in owed)
    now = owed[0]

    def retired(number: int) -> Callable[[], Awaitable[None]]:
        async def forget() -> None:
            async with tables.transaction() as session:
                await _note(session, now.consumer, without=number)
            _log.info("former queues are gone", consumer=now.consumer, partitions=number)

        return forget

    async with tables.transaction() as session:
        numbers = await _note(session, now.consumer, also=now.partitions)
    stops = [await bus.consume(now, handle, refuse, producers=producers)]
    for number in numbers:
        if number != now.partitions:
            former = replace(now, partitions=number)
            stops.append(await bus.consume(former, handle, refuse, retired(number), producers=producers))
    return stops


async def _note(session: AsyncSession, consumer: str, *, also: int | None = None, without: int | None = None) -> list[int]:
    await insert_if_new(session, ConsumerRow, consumer=consumer, partitions=[], repeats=0, forgotten=0)
    found = select(ConsumerRow).where(ConsumerRow.consumer == consumer).with_for_update()
    row = (await session.exec(found)).one()
    row.partitions = sorted(({*row.partitions} | ({also} if also else set())) - ({without} if without else set()))
    session.add(row)
    return row.partitions
