"""Who consumes the baskets of the benchmark: a service of its own whose read model notes each event, at once or after 5 ms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Column, DateTime, func, insert
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.domain import SERVICE, Basket, LineAdded, with_currency
from sagakit import Projection, RecordedEvent, Service, projects, projects_batch
from sagakit.ports import Subscription
from sagakit.service import ServiceMap

WAIT_SECONDS = 0.005


class EffectRow(SQLModel, table=True):
    """One effect of one event: twice here would be a double effect, so nothing is unique but the number."""

    __tablename__ = "bench_effects"
    number: int | None = Field(default=None, primary_key=True)
    stream: str
    version: int
    at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True), server_default=func.clock_timestamp(), nullable=False)
    )


class Handling:
    """When this process began to handle, on its own clock."""

    first_at: float | None = None

    @classmethod
    def note(cls) -> None:
        """Say that it handles."""
        if cls.first_at is None:
            cls.first_at = time.perf_counter()


class SeenLines(Projection, name="seen_lines", table=EffectRow):
    """Notes each line, as one would write it first: an object in the session."""

    @projects(LineAdded)
    async def seen(self, session: AsyncSession, _event: LineAdded, recorded: RecordedEvent) -> None:
        """Note it."""
        Handling.note()
        session.add(EffectRow(stream=recorded.stream, version=recorded.version))


class SeenBatches(Projection, name="seen_batches", table=EffectRow):
    """Notes the lines of a batch with one statement."""

    @projects_batch(LineAdded)
    async def seen(self, session: AsyncSession, lines: Sequence[tuple[LineAdded, RecordedEvent]]) -> None:
        """Note them."""
        Handling.note()
        rows = [{"stream": recorded.stream, "version": recorded.version} for _, recorded in lines]
        await session.exec(insert(EffectRow), params=rows)


class SlowLines(Projection, name="slow_lines", table=EffectRow):
    """Notes each line after a wait, as one would for another service's answer."""

    @projects(LineAdded)
    async def seen(self, session: AsyncSession, _event: LineAdded, recorded: RecordedEvent) -> None:
        """Wait and note it."""
        await asyncio.sleep(WAIT_SECONDS)
        session.add(EffectRow(stream=recorded.stream, version=recorded.version))


class Subscribed(ServiceMap):
    """A list whose consumers have so many partitions, and a limit that no benchmark reaches."""

    partitions = 1

    def subscriptions(self) -> list[Subscription]:
        """See the base."""
        return [replace(one, partitions=self.partitions, backlog_limit=10**8) for one in super().subscriptions()]


def services(number: int, partitions: int = 1, lines: type[Projection] = SeenLines) -> ServiceMap:
    """Make the list of services; the number keeps consumers of different rows apart on the broker."""
    till = Service(f"till{number}", projections=(lines,))
    made = Subscribed([Service(SERVICE, aggregates=(Basket,), upcasters=(with_currency,)), till])
    made.partitions = partitions
    return made
