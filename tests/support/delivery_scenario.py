"""The shortest story in which delivery can go wrong in every known way; the same for the right code and for the wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sqlmodel import Field, SQLModel, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.consumer import Consumer
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, ReadModels, Subscription
from sagakit.shared_log import SharedLog
from sagakit.sql.tables import CheckpointRow
from sagakit.system import OpenService
from tests.support.couriers import Broker, CourierBus, Process, StoppableTables
from tests.support.shop import added
from tests.support.waiting import until

SUBSCRIPTION = Subscription("c", "counting", frozenset({"counter.added"}))
LEASE_SECONDS = 0.4
STREAMS, KILLS = 6, 2
Effect = Callable[[AsyncSession, RecordedEvent], Awaitable[None]]


class EffectRow(SQLModel, table=True):
    __tablename__ = "scenario_effects"
    number: int | None = Field(default=None, primary_key=True)
    event_id: str
    stream: str
    version: int


@dataclass(frozen=True)
class Verdict:
    """All zero but the last is what G3 promises; the last shows that there was something to catch."""

    lost: int
    out_of_order: int
    double_effects: int
    checkpoints_moved_back: int
    duplicates_delivered: int


def right_feed(counting: OpenService, tables: ReadModels, leader: Leader, bus: CourierBus) -> Any:
    return Feed(SUBSCRIPTION, SharedLog(counting.store), leader, bus, 7, 0.02)


def right_consumer(tables: ReadModels, effect: Effect) -> Any:
    return Consumer("c", tables, 5, effect=effect)


@dataclass(frozen=True)
class Parts:
    """What is tried: the right code, but for what a defect puts in its place."""

    feed: Callable[[OpenService, ReadModels, Leader, CourierBus], Any] = right_feed
    bus: type[CourierBus] = CourierBus
    consumer: Callable[[ReadModels, Effect], Any] = right_consumer


@dataclass
class Story:
    """One run. Feeds are killed and one is stopped past its lease, the consumer dies in an effect and behind a commit."""

    counting: OpenService
    parts: Parts
    seed: int
    versions: int = 0
    owners: int = 0
    moved_back: int = 0
    kill_consumer: Callable[[], Awaitable[None]] | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.broker = Broker(self.chance)
        self.dies_in_effects = {self.chance.randint(3, 10), self.chance.randint(20, 30)}
        self.effects = 0
        self.dying = asyncio.Event()

    async def run(self) -> Verdict:
        await self.counting.tables.create([EffectRow])
        reaper = asyncio.create_task(self._keep_consuming())
        try:
            await self._append(3)
            for _ in range(KILLS):
                _, task = self._start_feed()
                await until(lambda seen=len(self.broker.arrived): len(self.broker.arrived) > seen, "events at the broker")
                await asyncio.sleep(self.chance.uniform(0, 0.02))
                await self._append(2)
                await _kill(task)
            await self._stop_a_leader()
            await self._comes_to_rest()
        finally:
            for task in (reaper, *self._tasks):
                await _kill(task)
            if self.kill_consumer is not None:
                await self.kill_consumer()
        return await self._verdict()

    async def _append(self, events: int) -> None:
        for stream in range(STREAMS):
            await self.counting.store.append(Append(f"counter-{stream}", self.versions, tuple(added() for _ in range(events))))
        self.versions += events

    def _start_feed(self) -> tuple[Process, asyncio.Task[None]]:
        process = Process()
        tables = StoppableTables(self.counting.tables, process)
        self.owners += 1
        leader = Leader(tables, "subscription c", f"owner {self.owners}", LEASE_SECONDS)
        feed = self.parts.feed(self.counting, tables, leader, self.parts.bus(self.broker, process))
        task = asyncio.create_task(feed.run())
        self._tasks.append(task)
        return process, task

    async def _stop_a_leader(self) -> None:
        """Stop a leader with events in hand, let another take over and come to the end, and wake the first."""
        process, _ = self._start_feed()
        await until(self._is_led_by(self.owners), "a leader")
        process.stop_at_publish()
        await self._append(1)
        await asyncio.wait_for(process.stopped.wait(), 20)
        await asyncio.sleep(LEASE_SECONDS)
        self._start_feed()
        await until(self._is_led_by(self.owners), "another leader")
        head = await self.counting.store.head()
        await _quietly(until(lambda: self._stands_at(head), "it to come to the end", 3))
        await self._append(1)
        await asyncio.sleep(0.1)
        before = await self._position()
        process.running.set()
        for _ in range(20):
            await asyncio.sleep(0.01)
            now = await self._position()
            self.moved_back += now < before
            before = now

    async def _comes_to_rest(self) -> None:
        """Wait for the last effect, or until nothing moves any more."""
        total, seen, since = STREAMS * self.versions, -1, time.monotonic()
        while time.monotonic() - since < 1.5:
            effects = await self._count()
            if effects >= total and not self.broker.queue:
                break
            if effects != seen:
                seen, since = effects, time.monotonic()
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)

    async def _keep_consuming(self) -> None:
        """Run the consumer; kill it where it is to die, and run the next one."""
        while True:
            bus = self.parts.bus(self.broker, Process())
            consumer = self.parts.consumer(self.counting.tables, self._effect)
            self.kill_consumer = await bus.consume(SUBSCRIPTION, consumer.handle)
            await self.dying.wait()
            self.dying.clear()
            await self.kill_consumer()

    async def _effect(self, session: AsyncSession, event: RecordedEvent) -> None:
        self.effects += 1
        session.add(EffectRow(event_id=str(event.id), stream=event.stream, version=event.version))
        await session.flush()
        if self.effects in self.dies_in_effects:
            self.dying.set()
            await asyncio.Event().wait()

    def _is_led_by(self, number: int) -> Callable[[], Awaitable[bool]]:
        async def is_led() -> bool:
            return (await self._checkpoint()).owner == f"owner {number}"

        return is_led

    async def _stands_at(self, position: int) -> bool:
        return await self._position() >= position

    async def _position(self) -> int:
        return (await self._checkpoint()).position

    async def _checkpoint(self) -> CheckpointRow:
        async with self.counting.tables.transaction() as session:
            found = (await session.exec(select(CheckpointRow).where(CheckpointRow.name == "subscription c"))).first()
        return found or CheckpointRow(name="subscription c")

    async def _count(self) -> int:
        async with self.counting.tables.transaction() as session:
            return (await session.exec(select(func.count(func.distinct(EffectRow.event_id))))).one()

    async def _verdict(self) -> Verdict:
        log = {str(event.id) async for event in read_to_head(self.counting.store)}
        async with self.counting.tables.transaction() as session:
            effects = [row.event_id for row in (await session.exec(select(EffectRow))).all()]
        first: dict[str, int] = {}
        inversions = 0
        for event in self.broker.arrived:
            inversions += event.version > first.get(event.stream, 0) + 1
            first[event.stream] = max(first.get(event.stream, 0), event.version)
        return Verdict(
            lost=len(log - set(effects)),
            out_of_order=inversions,
            double_effects=len(effects) - len(set(effects)),
            checkpoints_moved_back=self.moved_back,
            duplicates_delivered=len(self.broker.delivered) - len({event.id for event in self.broker.delivered}),
        )


async def _kill(task: asyncio.Task[None]) -> None:
    """Cancel until it is over: a wrong one swallows that, which kill -9 does not care about."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)


async def _quietly(awaited: Awaitable[None]) -> None:
    """A wrong feed need not come to any end."""
    try:
        await awaited
    except AssertionError:
        return
