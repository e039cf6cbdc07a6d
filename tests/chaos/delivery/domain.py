"""The domain of the chaos of delivery: a mill counts sacks, its own read model and one of another service note each effect.

Nothing but a number of its own is unique in a table of effects, so that a double effect is seen and the order is kept.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, Event, Projection, RecordedEvent, Saga, Service, applies, handles, projects
    from sagakit.service import ServiceMap
    from sagakit.sql.tables import ParkedRow

LEDGER, DISPATCH = "ledger.projection.ledger", "dispatch.saga.delivery"


class Fill(Command, name="fill", id_field="mill"):
    """``number`` is the command's, over the whole run."""

    mill: str
    number: int


class Filled(Event, name="mill.filled", version=1):
    number: int
    total: int


class Ordered(Event, name="mill.ordered", version=1):
    number: int


class Mill(Aggregate, category="mill"):
    total: int = 0

    @handles(Fill)
    def fill(self, command: Fill) -> Event | tuple[Event, ...]:
        filled = Filled(number=command.number, total=self.total + 1)
        return (filled, Ordered(number=command.number)) if command.number % 5 == 0 else filled

    @applies(Filled)
    def _filled(self, event: Filled) -> None:
        self.total = event.total

    @applies(Ordered)
    def _ordered(self, event: Ordered) -> None:
        pass


class _Effect(SQLModel):
    number: int | None = Field(default=None, primary_key=True)
    event_id: str
    stream: str
    version: int


class LedgerRow(_Effect, table=True):
    __tablename__ = "chaos_ledger"


class TallyRow(_Effect, table=True):
    __tablename__ = "chaos_tally"


class Ledger(Projection, name="ledger", table=LedgerRow):
    """In another service, fed over the bus. One event in 50 fails until it stands in the waiting room."""

    @projects(Filled)
    async def note(self, session: AsyncSession, event: Filled, recorded: RecordedEvent) -> None:
        if event.number % 50 == 0 and await session.get(ParkedRow, (LEDGER, str(recorded.id))) is None:
            raise ValueError("the first attempt fails")
        session.add(LedgerRow(event_id=str(recorded.id), stream=recorded.stream, version=recorded.version))


class Tally(Projection, name="tally", table=TallyRow):
    """In the producing service, fed from its log."""

    @projects(Filled)
    async def note(self, session: AsyncSession, _event: Filled, recorded: RecordedEvent) -> None:
        session.add(TallyRow(event_id=str(recorded.id), stream=recorded.stream, version=recorded.version))


@workflow.defn
class Delivery(Saga, starts_on=Ordered, key="number"):
    @workflow.run
    async def run(self, ordered: Ordered) -> None:
        await workflow.sleep(timedelta(0))


class Started:
    """Stands for Temporal's client: it starts each workflow id once, and answers for one that it knows as Temporal does."""

    namespace = "chaos"

    def __init__(self, database: str) -> None:
        self._database = database
        self._pool: asyncpg.Pool | None = None
        self.operator_service = self  # which cannot list the search attributes, so nobody misses any

    async def list_search_attributes(self, *_: Any, **__: Any) -> None:
        raise RPCError("not told", RPCStatusCode.UNIMPLEMENTED, b"")

    async def start_workflow(self, name: str, *_: Any, id: str, **__: Any) -> None:  # noqa: A002 its name there
        if self._pool is None:
            self._pool = await asyncpg.create_pool(self._database, min_size=1, max_size=2)
        try:
            new = await self._pool.fetchval("insert into chaos_started (id) values ($1) on conflict do nothing returning 1", id)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"") from error
        if not new:
            raise WorkflowAlreadyStartedError(id, name)


MILL = Service("mill", aggregates=(Mill,), projections=(Tally,))
SERVICES = ServiceMap([MILL, Service("ledger", projections=(Ledger,)), Service("dispatch", sagas=(Delivery,))])


def services() -> ServiceMap:
    return SERVICES
