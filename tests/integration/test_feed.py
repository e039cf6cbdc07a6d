"""A feed over both databases: log order, a checkpoint over what is confirmed, one leader at a time (G3, I8, failures B1, B2, B10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import select

from sagakit.errors import BusUnavailable, LeaseLost
from sagakit.feed import Feed
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.shared_log import SharedLog
from sagakit.sql.tables import CheckpointRow
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.waiting import until

SUBSCRIPTION = Subscription("c", "counting", frozenset({"counter.added"}))


class RecordingBus:
    """Notes every publish, and answers as the test wants."""

    def __init__(self) -> None:
        self.batches: list[list[UUID]] = []
        self.refused: set[int] = set()
        self.open = asyncio.Event()
        self.open.set()

    @property
    def ids(self) -> list[UUID]:
        return [event_id for batch in self.batches for event_id in batch]

    async def declare(self, _subscriptions: Sequence[Subscription]) -> None:
        pass

    async def backlog(self, _subscription: Subscription) -> int:
        return 0

    async def publish(self, _subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        self.batches.append([event.id for event in events])
        await self.open.wait()
        return [BusUnavailable("refused by the test") if event.position in self.refused else None for event in events]


class WatchedLeader(Leader):
    """Notes which moves of the checkpoint were refused."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lost: list[LeaseLost] = []

    async def advance(self, position: int, event_id: UUID | None = None) -> None:
        try:
            await super().advance(position, event_id)
        except LeaseLost as error:
            self.lost.append(error)
            raise


def _feed(counting: OpenService, bus: Any, owner: str = "one", lease: float = 30, batch: int = 7) -> tuple[Feed, WatchedLeader]:
    leader = WatchedLeader(counting.tables, "subscription c", owner, lease)
    return Feed(SUBSCRIPTION, SharedLog(counting.store), leader, bus, batch, 0.02), leader


@asynccontextmanager
async def _running(feed: Feed) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(feed.run())
    try:
        yield task
    finally:
        feed.stop()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 20)


async def _append(counting: OpenService, streams: int, versions: int, before: int = 0) -> list[RecordedEvent]:
    """Append to several streams in turn; return the whole log in its order."""
    for version in range(before, before + versions):
        for stream in range(streams):
            await counting.store.append(Append(f"counter-{stream}", version, (added(),)))
    log = [event for stream in range(streams) for event in await counting.store.load(f"counter-{stream}")]
    return sorted(log, key=lambda event: event.position)


async def _checkpoint(counting: OpenService) -> CheckpointRow:
    async with counting.tables.transaction() as session:
        found = (await session.exec(select(CheckpointRow).where(CheckpointRow.name == "subscription c"))).first()
    return found or CheckpointRow(name="subscription c")


def _stands_at(counting: OpenService, event: RecordedEvent) -> Callable[[], Any]:
    async def stands() -> bool:
        return (await _checkpoint(counting)).position == event.position

    return stands


async def test_it_publishes_in_log_order_and_moves_its_checkpoint_to_the_end_g3(counting: OpenService) -> None:
    bus, log = RecordingBus(), await _append(counting, 5, 6)
    feed, _ = _feed(counting, bus)
    async with _running(feed):
        await until(lambda: len(bus.ids) == 30, "all events")
        log = await _append(counting, 5, 2, before=6)  # a commit wakes it
        await until(_stands_at(counting, log[-1]), "the checkpoint at the end")
    assert bus.ids == [event.id for event in log]
    assert max(len(batch) for batch in bus.batches) <= 7


async def test_the_checkpoint_moves_over_the_confirmed_prefix_only_g3(counting: OpenService) -> None:
    """The events behind a failed one are confirmed too, and are sent again all the same: none is passed over (B1, B2)."""
    bus, log = RecordingBus(), await _append(counting, 5, 2)
    bus.refused = {log[3].position}
    feed, _ = _feed(counting, bus, batch=20)
    async with _running(feed):
        await until(lambda: len(bus.batches) >= 3, "two more attempts")
        assert (await _checkpoint(counting)).position == log[2].position
        assert bus.batches[0] == [event.id for event in log]
        for again in bus.batches[1:3]:
            assert again == [event.id for event in log[3:]]  # the same ids
        bus.refused.clear()
        await until(_stands_at(counting, log[-1]), "the checkpoint at the end")
    assert bus.batches[-1] == [event.id for event in log[3:]]


async def test_a_feed_that_dies_before_its_mark_is_followed_by_one_that_sends_the_same_again_g3(counting: OpenService) -> None:
    bus, log = RecordingBus(), await _append(counting, 2, 2)
    bus.open.clear()
    feed, _ = _feed(counting, bus, lease=0.2)
    async with _running(feed) as task:
        await until(lambda: bus.batches, "the first publish")
        task.cancel()
    assert (await _checkpoint(counting)).position == 0
    bus.open.set()
    heir, _ = _feed(counting, bus, "two")
    async with _running(heir):
        await until(_stands_at(counting, log[-1]), "the checkpoint at the end")
    assert bus.batches == [[event.id for event in log]] * 2


async def test_a_second_feed_stands_by_until_the_lease_of_a_silent_leader_has_ended_i8(counting: OpenService) -> None:
    one, two = RecordingBus(), RecordingBus()
    log = await _append(counting, 2, 2)
    first, _ = _feed(counting, one, "one", lease=1.5)
    second, _ = _feed(counting, two, "two", lease=1.5)
    async with _running(first) as leading:
        await until(_stands_at(counting, log[-1]), "the first to lead")
        async with _running(second):
            log = await _append(counting, 2, 2, before=2)
            await until(_stands_at(counting, log[-1]), "the first to go on")
            assert two.batches == []
            leading.cancel()  # like a kill -9: nothing is given back
            await asyncio.gather(leading, return_exceptions=True)
            held = await _checkpoint(counting)
            assert (held.owner, held.epoch) == ("one", 1)
            log = await _append(counting, 2, 2, before=4)
            await until(_stands_at(counting, log[-1]), "the second to take over")
            assert two.ids == [event.id for event in log[8:]]
            taken = await _checkpoint(counting)
            assert (taken.owner, taken.epoch) == ("two", 2)
            assert taken.leased_until > held.leased_until


async def test_a_feed_that_was_replaced_while_it_published_changes_nothing_i8(counting: OpenService) -> None:
    """It hears of its success only after another has led (B10): its own mark comes too late and is refused."""
    slow, quick = RecordingBus(), RecordingBus()
    log = await _append(counting, 2, 2)
    slow.open.clear()
    old, old_leader = _feed(counting, slow, "old", lease=0.2, batch=2)
    new, _ = _feed(counting, quick, "new", lease=30)
    async with _running(old):
        await until(lambda: slow.batches, "the old one to publish")
        async with _running(new):
            await until(_stands_at(counting, log[-1]), "the new one to lead")
            before = await _checkpoint(counting)
            slow.open.set()
            await until(lambda: old_leader.lost, "the old one to notice")
            after = await _checkpoint(counting)
            assert (after.owner, after.epoch, after.position) == ("new", before.epoch, log[-1].position)
            assert "another process leads now" in str(old_leader.lost[0])
            assert slow.ids == [event.id for event in log[:2]]  # and it publishes no more


async def test_a_feed_that_stops_hands_its_lease_over_at_once(counting: OpenService) -> None:
    bus, log = RecordingBus(), await _append(counting, 1, 1)
    first, _ = _feed(counting, bus, "one", lease=300)
    async with _running(first):
        await until(_stands_at(counting, log[-1]), "the first")
    assert await Leader(counting.tables, "subscription c", "two", 300).take()


@pytest.mark.parametrize("failure", [ValueError("a driver's own error"), OSError("away")])
async def test_whatever_a_bus_answers_the_feed_lives_on_g3(counting: OpenService, failure: Exception) -> None:
    log = await _append(counting, 1, 1)
    answers: list[Exception | None] = [failure, None]

    class Odd(RecordingBus):
        async def publish(self, subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
            await super().publish(subscription, events)
            return [answers.pop(0) for _ in events]

    bus = Odd()
    feed, _ = _feed(counting, bus)
    async with _running(feed):
        await until(_stands_at(counting, log[-1]), "the second attempt")
    assert bus.ids == [log[0].id] * 2
