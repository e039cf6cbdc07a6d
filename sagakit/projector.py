"""Event to read model, inside one service: applies the log to a projection, checkpoint and effect in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit import crash_points
from sagakit.applying import Applier, Irregular, Tally
from sagakit.effects import Effects, Span, one_by_one
from sagakit.errors import InfrastructureError, LeaseLost
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent, Registry
from sagakit.patience import Patience
from sagakit.ports import EventStore, ReadModels
from sagakit.projection import Projection
from sagakit.retrier import Retrier
from sagakit.sql import consumers
from sagakit.sql.faults import machine_trouble
from sagakit.telemetry import child_span, side_by_side

_log = structlog.get_logger("sagakit.projector")
_BATCH = 200
Apply = Callable[[AsyncSession, Sequence[RecordedEvent]], Awaitable[Tally]]


class Projector:
    """The loop of one projection over its own service's log.

    Delivery: each event takes effect once (G3). Ordering: log order. An event whose handler fails goes to the waiting room with
    the later ones of its stream, and the others go on (G5). Run `retrier` beside it.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        tables: ReadModels,
        registry: Registry,
        leader: Leader,
        poll_seconds: float,
        patience: Patience | None = None,
    ) -> None:
        """Take what it reads from, what it writes to, the lease it leads by, and how often a failed event is tried."""
        self._projection, self._store, self._tables, self._registry = projection, store, tables, registry
        self._leader, self._poll_seconds = leader, poll_seconds
        self._types = registry.stored_names(projection.handlers)
        self._applier = applier_of(projection, registry, projection.name, patience or Patience())
        self._one_effect = asyncio.Lock()
        self.retrier = Retrier(self._applier, tables, self._one_effect)
        self._wake = asyncio.Event()
        store.on_commit(self._wake.set)
        self._is_stopping = False

    def stop(self) -> None:
        """End after the batch in hand."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Project until stopped; trouble with the store is waited out. Raises `LogWentBack`."""
        last_trouble = ""
        while not self._is_stopping:
            try:
                if await self._leader.take():
                    await self._lead()
                last_trouble = ""
            except LeaseLost as error:
                _log.warning("lost the lease", reason=str(error))
            except InfrastructureError as error:
                if str(error) != last_trouble:
                    last_trouble = str(error)
                    _log.warning("waiting", projection=self._projection.name, reason=last_trouble)
            await self._rest()
        await self._leader.release()

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self._poll_seconds)
        except TimeoutError:
            return
        self._wake.clear()

    async def _lead(self) -> None:
        async with self._tables.transaction() as session:
            await consumers.register(session, self._projection.name)
        reader = await self._leader.reader(self._store)
        while not self._is_stopping:
            await self._leader.renew()
            events = await reader.read(_BATCH)
            if not events:
                await self._rest()
                continue
            # What this code cannot read may be what a newer release would project: parked, not passed.
            wanted = [event for event in events if event.type in self._types or not self._registry.can_read(event)]
            with machine_trouble(f"projection {self._projection.name}"):
                tally = await self._apply(wanted, events[-1])
            self._leader.position = events[-1].position
            crash_points.reached(crash_points.PROJECTOR_COMMITTED)
            tally.tell(self._projection.name)
            if tally.retrying:
                self.retrier.wake()

    async def _apply(self, events: Sequence[RecordedEvent], last: RecordedEvent) -> Tally:
        """Apply a batch and move the checkpoint, in one transaction."""
        async with self._one_effect:
            try:
                return await self._apply_within(self._applier.all_at_once, events, last)
            except Irregular as reason:
                _log.info("one by one", projection=self._projection.name, reason=str(reason))
            return await self._apply_within(self._applier.one_by_one, events, last)

    async def _apply_within(self, apply: Apply, events: Sequence[RecordedEvent], last: RecordedEvent) -> Tally:
        async with self._tables.transaction() as session:
            tally = await apply(session, events)
            await self._leader.advance_within(session, last.position, last.id)
            crash_points.reached(crash_points.PROJECTOR_APPLIED)
        return tally


def effects_of(projection: Projection, registry: Registry) -> Effects:
    """Make what events do to a projection, in the caller's transaction."""

    async def effect(session: AsyncSession, event: RecordedEvent) -> None:
        await projection.apply(session, registry.decode_all(event), event)

    async def effects(session: AsyncSession, events: Sequence[RecordedEvent], span: Span) -> None:
        decoded = [(registry.decode_all(event), event) for event in events]
        for method, neighbours in groupby(decoded, key=lambda pair: projection.batch_handler(pair[0])):
            if method is None:
                for meaning, event in neighbours:
                    with span(event):
                        await projection.apply(session, meaning, event)
                continue
            together = list(neighbours)
            with side_by_side([span(event) for _, event in together]):
                await method(session, [(one, event) for meaning, event in together for one in meaning])

    return effects if projection.takes_batches else one_by_one(effect)


def applier_of(
    projection: Projection, registry: Registry, consumer: str, patience: Patience, *, has_inbox: bool = False
) -> Applier:
    """Make what applies events to a projection. For a service's own events the checkpoint is the inbox."""

    def span(event: RecordedEvent) -> AbstractContextManager[object]:
        about = {"messaging.message.id": str(event.id)}
        return child_span(f"project {projection.name}", event.traceparent, attributes=about)

    return Applier(consumer, effects_of(projection, registry), patience, span, has_inbox=has_inbox)
