"""Compares, for each consumer, what the logs say must have been handled with what was: one pass over each log, page by page.

Nothing is stopped for it. What is missing at first sight may be on its way between two looks, so it is looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.accounts import Account, MissingEvents
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, EventStore, Subscription
from sagakit.projection import Projection
from sagakit.service import Service, projection_checkpoint
from sagakit.sql import reconciling, subscriptions
from sagakit.sql.tables import CheckpointRow
from sagakit.system import OpenService, System

_PAGE = 500
_LOOKS, _PAUSE_SECONDS = 4, 1.0


@dataclass
class _Debt:
    """What one log owes one consumer: a subscription, or a projection of the same service."""

    account: Account
    consumer: str
    types: frozenset[str]
    cursor: int
    producer: OpenService
    owner: OpenService | None
    missing: MissingEvents
    subscription: Subscription | None = None


async def reconcile(system: System, bus: Bus | None, grace_seconds: float, only: str | None = None) -> list[Account]:
    """Return the account of each consumer, or of one, over what is older than the grace; empty when there is none.

    ``bus`` None stands for one in which nothing waits. Raises `BusUnavailable`, `StoreUnavailable`.
    """
    before = datetime.now(UTC) - timedelta(seconds=grace_seconds)
    accounts: dict[str, Account] = {}
    debts: list[_Debt] = []
    for service in system.services.services:
        opened = await system.open(service.name)
        own = [each for each in await _debts(system, opened, accounts) if only in (None, each.consumer)]
        async for page in _pages(opened.store, before):
            for debt in own:
                await _book(debt, page)
        debts += own
    for debt in debts:
        await _settle(debt, bus)
    for name, owner in {debt.consumer: debt.owner for debt in debts if debt.owner is not None}.items():
        async with owner.tables.transaction() as session:
            accounts[name].doubled = await reconciling.doubled(session, name)
    return [account for name, account in sorted(accounts.items()) if only in (None, name)]


async def _debts(system: System, opened: OpenService, accounts: dict[str, Account]) -> list[_Debt]:
    service = opened.service
    async with opened.tables.transaction() as session:
        recorded = {row.consumer: subscriptions.of_row(row, service.name) for row in await subscriptions.recorded(session)}
        cursors: dict[str, int] = dict((await session.exec(select(CheckpointRow.name, CheckpointRow.position))).all())
    declared = {each.consumer: each for each in system.services.subscriptions() if each.producer == service.name}
    known = {each.name: each for each in system.services.services}
    debts = []
    for name, subscription in (declared | recorded).items():
        account = accounts.setdefault(name, Account(name))
        owner = await system.open(name.partition(".")[0]) if name.partition(".")[0] in known else None
        cursor = cursors.get(subscriptions.checkpoint_of(name), 0)
        debts.append(_Debt(account, name, subscription.event_types, cursor, opened, owner, MissingEvents(account), subscription))
    for projection in service.projections:
        if types := _own_types(system, service, projection):
            account = accounts.setdefault(projection.name, Account(projection.name))
            cursor = cursors.get(projection_checkpoint(projection), 0)
            debts.append(_Debt(account, projection.name, types, cursor, opened, None, MissingEvents(account)))
    return debts


def _own_types(system: System, service: Service, projection: type[Projection]) -> frozenset[str]:
    own = [event for event in projection.handlers if system.services.producer_of(event) is service]
    return system.services.registry.stored_names(own)


async def _pages(store: EventStore, before: datetime) -> AsyncIterator[list[RecordedEvent]]:
    """Yield a log up to its head, without what is younger than the grace."""
    page: list[RecordedEvent] = []
    async for event in read_to_head(store):
        if event.recorded_at <= before:
            page.append(event)
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


async def _book(debt: _Debt, page: list[RecordedEvent]) -> None:
    wanted = [event for event in page if event.type in debt.types]
    account = debt.account
    account.owed += len(wanted)
    published = [event for event in wanted if event.position <= debt.cursor]
    account.waiting += len(wanted) - len(published)
    account.late += len(wanted) - len(published)
    if not published:
        return
    ids = [str(event.id) for event in published]
    unsent = subscriptions.checkpoint_of(debt.consumer) if debt.subscription is not None else debt.consumer
    async with debt.producer.tables.transaction() as session:
        aside = await reconciling.parked(session, unsent, ids)
        gone = await reconciling.dropped(session, unsent, ids)
    if debt.owner is None:
        account.parked += len(aside)
        account.dropped += len(gone - aside)
        account.handled += len(ids) - len(aside | gone)
        return
    async with debt.owner.tables.transaction() as session:
        found = await _found(session, debt.consumer, ids)
    _enter(account, found.with_unsent(aside, gone))
    for event in published:
        if str(event.id) not in found.all:
            debt.missing.add(event)


@dataclass
class _Found:
    """What became of some events, by their ids."""

    handled: set[str]
    parked: set[str]
    dropped: set[str]

    def with_unsent(self, parked: set[str], dropped: set[str]) -> _Found:
        """Add what the feed put aside."""
        self.parked |= parked
        self.dropped |= dropped
        return self

    @property
    def all(self) -> set[str]:
        """All that is accounted for."""
        return self.handled | self.parked | self.dropped


async def _found(session: AsyncSession, consumer: str, ids: list[str]) -> _Found:
    # In the order of an event's way: what moves on between two statements is seen by the later one.
    parked = await reconciling.parked(session, consumer, ids)
    return _Found(await reconciling.handled(session, consumer, ids), parked, await reconciling.dropped(session, consumer, ids))


def _enter(account: Account, found: _Found) -> None:
    account.dropped += len(found.dropped)
    account.handled += len(found.handled - found.dropped)
    account.parked += len(found.parked - found.handled - found.dropped)


async def _settle(debt: _Debt, bus: Bus | None) -> None:
    """Tell, of what is published and not handled, what is forgotten, what still waits in a queue, and what is lost."""
    if debt.owner is None or debt.subscription is None:
        if debt.subscription is not None and bus is not None:
            waiting = min(await bus.backlog(debt.subscription), debt.account.handled)
            debt.account.waiting += waiting
            debt.account.handled -= waiting
        return
    missing, account, queued = debt.missing.events, debt.account, 0
    async with debt.owner.tables.transaction() as session:
        forgotten = await reconciling.forgotten(session, debt.consumer) - account.forgotten
    # The oldest are forgotten first.
    for _ in range(min(forgotten, len(missing))):
        missing.popleft()
        account.forgotten += 1
    for look in range(_LOOKS):
        if not missing:
            return
        queued = 0 if bus is None else await bus.backlog(debt.subscription)
        if look:
            await asyncio.sleep(_PAUSE_SECONDS)  # what was in somebody's hands has come to an end by then
        await _look_again(debt)
    async with debt.owner.tables.transaction() as session:
        last = await reconciling.last_handled(session, debt.consumer, {each.stream for each in missing})
    open_ones = []
    for each in missing:
        if each.version < last.get(each.stream, 0):
            account.lose(each)  # overtaken, so it is in no queue
        else:
            open_ones.append(each)
    # A queue holds the latest.
    lost = max(0, len(open_ones) - queued)
    for each in open_ones[:lost]:
        account.lose(each)
    account.waiting += len(open_ones) - lost
    account.late += len(open_ones) - lost


async def _look_again(debt: _Debt) -> None:
    assert debt.owner is not None  # noqa: S101 for the type checker; see `_settle`
    missing = list(debt.missing.events)
    debt.missing.events.clear()
    for begin in range(0, len(missing), _PAGE):
        part = missing[begin : begin + _PAGE]
        ids = [each.event_id for each in part]
        async with debt.owner.tables.transaction() as session:
            found = await _found(session, debt.consumer, ids)
        _enter(debt.account, found)
        debt.missing.events.extend(each for each in part if each.event_id not in found.all)
