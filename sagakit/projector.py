"""Event to read model, inside one service: applies the log to a projection, checkpoint and effect in one transaction."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import InfrastructureError, LeaseLost, SagakitError
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent, Registry
from sagakit.ports import EventStore, ReadModels
from sagakit.projection import Projection
from sagakit.sql import bookkeeping
from sagakit.sql.faults import is_own_fault
from sagakit.telemetry import child_span

_log = structlog.get_logger("sagakit.projector")
_BATCH = 200


class Projector:
    """The loop of one projection over its own service's log.

    Delivery: each event takes effect once (G3). Ordering: log order. An event whose handler fails is parked with the later
    ones of its stream, and the others go on (G5).
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        tables: ReadModels,
        registry: Registry,
        leader: Leader,
        poll_seconds: float,
    ) -> None:
        """Take what it reads from, what it writes to, and the lease it leads by."""
        self._projection, self._store, self._tables, self._registry = projection, store, tables, registry
        self._leader, self._poll_seconds = leader, poll_seconds
        self._types = registry.stored_names(projection.handlers)
        self._wake = asyncio.Event()
        store.on_commit(self._wake.set)
        self._is_stopping = False

    def stop(self) -> None:
        """End after the batch in hand."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Project until stopped; trouble with the store is waited out. Raises `LogWentBack`."""
        while not self._is_stopping:
            try:
                if await self._leader.take():
                    await self._lead()
            except LeaseLost as error:
                _log.warning("lost the lease", reason=str(error))
            except InfrastructureError as error:
                _log.warning("waiting", reason=str(error))
            await self._rest()
        await self._leader.release()

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self._poll_seconds)
        except TimeoutError:
            return
        self._wake.clear()

    async def _lead(self) -> None:
        reader = await self._leader.reader(self._store)
        while not self._is_stopping:
            await self._leader.renew()
            events = await reader.read(_BATCH)
            if not events:
                await self._rest()
                continue
            async with self._tables.transaction() as session:
                for event in events:
                    # What this code cannot read may be what a newer release would project: parked, not passed.
                    if event.type in self._types or not self._registry.can_read(event):
                        await apply_or_park(self._projection, self._registry, session, self._projection.name, event)
                await self._leader.advance_within(session, events[-1].position, events[-1].id)
            self._leader.position = events[-1].position


async def apply_or_park(
    projection: Projection, registry: Registry, session: AsyncSession, consumer: str, event: RecordedEvent
) -> None:
    """Apply one event in a savepoint; park it when it cannot be applied or waits behind one that could not.

    Raises what the machine is to blame for, such as a lost connection: the whole batch comes again.
    """
    if await bookkeeping.standing(session, consumer, event) == "behind":
        await bookkeeping.park(session, consumer, event, bookkeeping.BEHIND)
        return
    with child_span(f"project {projection.name}", event.metadata.traceparent, attributes={"messaging.message.id": str(event.id)}):
        try:
            async with session.begin_nested():
                await projection.apply(session, registry.decode_all(event), event)
                await session.flush()
        except InfrastructureError:
            raise
        except (SagakitError, SQLAlchemyError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            if isinstance(error, SQLAlchemyError) and not is_own_fault(error):
                raise
            _log.exception("parked", consumer=consumer, stream=event.stream)
            await bookkeeping.park(session, consumer, event, f"{type(error).__name__}: {error}")
