"""Builds a read model anew from the logs that feed it, compares it with the one there is, and puts it in its place.

The projection is held still meanwhile; queries go on reading the rows there are, until one transaction replaces them. It is
built in tables that stand in front of the real ones (`sql.shadow`), by the code that applies events every day, which cannot
tell the difference (failures A12, A13).
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.applying import Applier, Tally
from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.projection import Projection
from sagakit.projector import applier_of
from sagakit.refeed import Source, by_time, consumers_of, sources_of
from sagakit.service import projection_checkpoint
from sagakit.sql import bookkeeping, pausing
from sagakit.sql.shadow import Comparison, Shadow
from sagakit.sql.tables import CheckpointRow, HeadRow, InboxRow, ParkedRow
from sagakit.system import OpenService, System

_BATCH = 200
_MARK = "rebuild "
Progress = Callable[[int, int], None]
"""Is told how many positions of how many have been read."""


@dataclass(frozen=True)
class Rebuilt:
    """What came of a rebuild; ``is_replaced`` tells whether the rebuilt rows are now the read model's."""

    projection: str
    rows: int
    parked: int
    comparison: Comparison
    is_replaced: bool


async def resume(system: System, name: str) -> bool:
    """Let a projection go on that is held still; answer whether it was. Its rows are those of before."""
    service, projection = system.services.projection(name)
    opened = await system.open(service.name)
    async with opened.tables.transaction() as session:
        return await pausing.release(session, consumers_of(system.services, service, projection))


async def rebuild(system: System, name: str, progress: Progress, *, is_comparison: bool = False) -> Rebuilt:
    """Rebuild a read model; with ``is_comparison`` only compare, and throw the rebuilt rows away.

    Delivery: each event takes effect once, in the rebuilt rows or in what is handled later. What was parked is applied, or
    parked anew. Killed half way, it leaves the read model as it was, and held still until `rebuild` or `resume`; an error
    lets it go on. A second rebuild stops the first.

    Raises `InvalidInput` when its events are not all in logs of this code base, or somebody else holds it still; `LeaseLost`
    when another rebuild took over; `StoreUnavailable`.
    """
    service, projection = system.services.projection(name)
    opened = await system.open(service.name)
    sources = await sources_of(system, service, projection)
    work = _Work(system, opened, projection, sources, progress)
    await work.pause()
    try:
        async with Shadow(system.engine(service.name), [projection.table, InboxRow, HeadRow, ParkedRow]) as shadow:
            await work.replay_what_was_handled(shadow)
            comparison = await shadow.compare(projection.table)
            if not is_comparison:
                await work.replay_the_rest(shadow)
            rows, parked = await shadow.count(projection.table), await shadow.count(ParkedRow)
            if not is_comparison:
                await work.replace(shadow)
    finally:
        with suppress(InfrastructureError):  # a database that is away leaves it held still
            await work.resume()
    return Rebuilt(name, rows, parked, comparison, not is_comparison)


class _Work:
    """One rebuild: who it is, what it reads, how far it is."""

    def __init__(
        self, system: System, opened: OpenService, projection: type[Projection], sources: Sequence[Source], progress: Progress
    ) -> None:
        self._registry, self._opened, self._sources, self._progress = system.services.registry, opened, sources, progress
        self._type, self._projection = projection, projection()
        self._consumers = consumers_of(system.services, opened.service, projection)
        self._me = f"{_MARK}{uuid.uuid4().hex[:8]} of {socket.gethostname()}/{os.getpid()}"
        self._checkpoint = self._total = 0

    async def pause(self) -> None:
        async with self._opened.tables.transaction() as session:
            await pausing.hold(session, self._consumers, self._me, instead_of=_MARK)
            statement = select(CheckpointRow.position).where(CheckpointRow.name == projection_checkpoint(self._type))
            self._checkpoint = (await session.exec(statement)).first() or 0
        self._total = sum([await source.store.head() for source in self._sources])

    async def resume(self) -> None:
        async with self._opened.tables.transaction() as session:
            await pausing.release(session, self._consumers, self._me)

    async def replay_what_was_handled(self, shadow: Shadow) -> None:
        """Apply what took effect in the read model up to now, no more: only that may be compared with it."""
        async for batch in self._batches({}, self._checkpoint):
            handled, chosen = await self._handled(batch), []
            for source, event in batch:
                if event.stream in source.deferred or str(event.id) not in handled:
                    source.defer(event)
                else:
                    chosen.append((source, event))
            await self._apply(shadow, chosen)

    async def replay_the_rest(self, shadow: Shadow) -> None:
        """Apply what was deferred and what is new."""
        known = {source.store.service: source.seen for source in self._sources}
        after = {s.store.service: s.seen if s.deferred_after is None else s.deferred_after for s in self._sources}
        async for batch in self._batches(after):
            await self._apply(
                shadow,
                [
                    (source, event)
                    for source, event in batch
                    if event.position > known[event.service]
                    or event.version >= source.deferred.get(event.stream, event.version + 1)
                ],
            )

    async def replace(self, shadow: Shadow) -> None:
        """Put the rebuilt rows, and what is known to be handled and parked with them, in place: all of it or nothing."""
        async with shadow.transaction() as session:
            if not await pausing.release(session, self._consumers, self._me):  # locked from here on, until all is committed
                raise self._lost()
            await shadow.replace(session, self._type.table)
            for table in (InboxRow, HeadRow, ParkedRow):
                await shadow.replace(session, table, ("consumer", self._consumers))
            await self._move_checkpoint(session)

    async def _move_checkpoint(self, session: AsyncSession) -> None:
        """Set the checkpoint to what was read; the new epoch refuses a batch that a projector read before."""
        name = projection_checkpoint(self._type)
        for source in self._sources:
            if source.is_own:
                await bookkeeping.insert_if_new(
                    session, CheckpointRow, name=name, position=0, epoch=0, owner="", leased_until=0.0
                )
                statement = update(CheckpointRow).where(col(CheckpointRow.name) == name)
                values: dict[str, Any] = {"position": source.seen, "event_id": None, "epoch": col(CheckpointRow.epoch) + 1}
                values |= {"owner": "", "leased_until": 0.0}
                await session.exec(statement.values(**values).execution_options(synchronize_session=False))

    async def _batches(
        self, after: dict[str, int], own_end: int | None = None
    ) -> AsyncIterator[list[tuple[Source, RecordedEvent]]]:
        batch: list[tuple[Source, RecordedEvent]] = []
        async for source, event in by_time(self._sources, after, own_end):
            if source.wants(event, self._registry):
                batch.append((source, event))
            if len(batch) == _BATCH:
                yield batch
                batch = []
                self._say()
        if batch:
            yield batch
        self._say()

    def _say(self) -> None:
        self._progress(min(sum(source.seen for source in self._sources), self._total), self._total)

    async def _handled(self, batch: Sequence[tuple[Source, RecordedEvent]]) -> set[str]:
        """Find the events that took effect: by the checkpoint, by the inbox, by the heads where the inbox has forgotten."""
        ids, streams = [str(event.id) for _, event in batch], {event.stream for _, event in batch}
        async with self._opened.tables.transaction() as session:
            inbox = select(InboxRow.event_id).where(_of(InboxRow, self._consumers), col(InboxRow.event_id).in_(ids))
            parked = select(ParkedRow.event_id).where(_of(ParkedRow, self._consumers), col(ParkedRow.event_id).in_(ids))
            of_streams = select(HeadRow).where(_of(HeadRow, self._consumers), col(HeadRow.stream).in_(streams))
            known, aside = set((await session.exec(inbox)).all()), set((await session.exec(parked)).all())
            heads = {(row.producer, row.stream): row.version for row in (await session.exec(of_streams)).all()}
        behind_head = {str(e.id) for s, e in batch if s.is_own or e.version <= heads.get((e.service, e.stream), 0)}
        return (known | behind_head) - aside

    async def _apply(self, shadow: Shadow, batch: Sequence[tuple[Source, RecordedEvent]]) -> None:
        if not batch:
            return
        async with shadow.transaction() as session:
            if await pausing.holders(session, self._consumers) != {self._me}:
                raise self._lost()
            for source, event in batch:
                await self._applier(source).one(session, event, Tally())

    def _applier(self, source: Source) -> Applier:
        """Make what applies the events of a source: once tried, then parked; the inbox of what comes over the bus is kept."""
        return applier_of(self._projection, self._registry, source.consumer, Patience(attempts=1), has_inbox=not source.is_own)

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"another rebuild of {self._type.name}, or a person, took over: this one changed nothing")


def _of(table: type[InboxRow | HeadRow | ParkedRow], consumers: Sequence[str]) -> ColumnElement[bool]:
    return col(table.consumer).in_(consumers)
