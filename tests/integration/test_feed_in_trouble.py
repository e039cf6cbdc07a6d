"""What goes wrong with one event, one consumer or one driver stays there (G3, G5, failures A9, B3, B5, B7)."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlmodel import col, select, update

from sagakit.errors import BusUnavailable, LeaseLost, LogWentBack, NotSendable
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.relay import Relay
from sagakit.replaying import Replaying
from sagakit.shared_log import SharedLog
from sagakit.sql.tables import ParkedRow, ReplayRow
from sagakit.system import OpenService
from sagakit.unsent import Unsent
from tests.support.feeding import (
    SUBSCRIPTION,
    AnsweringBus,
    append,
    feed_of,
    position_of,
    record,
    row_of,
    running,
    stands_at,
)  # fmt: skip
from tests.support.shop import added
from tests.support.waiting import until


async def _aside(counting: OpenService) -> list[tuple[str, int, str]]:
    async with counting.tables.transaction() as session:
        rows = (await session.exec(select(ParkedRow).order_by(col(ParkedRow.stream), col(ParkedRow.version)))).all()
    return [(row.stream, row.version, row.state) for row in rows]


async def _set_due(counting: OpenService, version: int) -> None:
    async with counting.tables.transaction() as session:
        row = update(ParkedRow).where(col(ParkedRow.version) == version, col(ParkedRow.consumer) == "subscription c")
        await session.exec(row.values(state="retrying", due_at=time.time()))


async def test_an_event_that_cannot_be_sent_parks_its_stream_and_the_others_go_on_b3(counting: OpenService) -> None:
    bus, log = AnsweringBus(), await append(counting, 3, 4)
    second = next(event for event in log if (event.stream, event.version) == ("counter-1", 2))
    bus.too_large = {second.position}
    await record(counting)
    async with running(feed_of(counting, bus)):
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
        log = await append(counting, 3, 1, before=4)
        await until(stands_at(counting, log[-1]), "the checkpoint at the new end")
        behind = [("counter-1", version, "behind") for version in (3, 4, 5)]
        assert await _aside(counting) == [("counter-1", 2, "parked"), *behind]
        assert bus.positions == [e.position for e in log if e.stream != "counter-1" or e.version == 1]
        await _set_due(counting, 2)  # tried in vain: it is too large as before
        await until(lambda: _attempts(counting, second.id, 2), "the second attempt")
        assert await _aside(counting) == [("counter-1", 2, "parked"), *behind]
        bus.too_large.clear()
        await _set_due(counting, 2)
        await until(lambda: len(bus.taken) == len(log), "the stream to follow")
        log = await append(counting, 3, 1, before=5)
        await until(lambda: len(bus.taken) == len(log), "the stream to flow again")
        assert await _aside(counting) == []
    for stream in range(3):
        assert [event.version for event in bus.taken if event.stream == f"counter-{stream}"] == [1, 2, 3, 4, 5, 6]


async def _attempts(counting: OpenService, event_id: UUID, count: int) -> bool:
    async with counting.tables.transaction() as session:
        found = await session.exec(select(ParkedRow.attempts).where(ParkedRow.event_id == str(event_id)))
        return found.one() == count


async def test_a_parked_stream_stays_parked_over_a_restart_b3(counting: OpenService) -> None:
    bus, log = AnsweringBus(), await append(counting, 2, 2)
    bus.too_large = {log[0].position}
    await record(counting)
    async with running(feed_of(counting, bus)):
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
    bus.too_large.clear()
    async with running(feed_of(counting, bus)):
        log = await append(counting, 2, 1, before=2)
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
    assert {event.stream for event in bus.taken} == {"counter-1"}
    assert [row[1] for row in await _aside(counting)] == [1, 2, 3]


async def test_what_was_dropped_lets_the_later_events_of_its_stream_follow_b3(counting: OpenService) -> None:
    bus, log = AnsweringBus(), await append(counting, 1, 3)
    bus.too_large = {log[0].position}
    async with running(feed_of(counting, bus)):
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
        async with counting.tables.transaction() as session:
            await (await session.connection()).execute(text("delete from sagakit_parked where version = 1"))
        await until(lambda: len(bus.taken) == 2, "the later ones")
    assert [event.version for event in bus.taken] == [2, 3]


async def test_a_driver_that_cancels_does_not_end_a_feed_b7(counting: OpenService) -> None:
    bus, log = AnsweringBus(), await append(counting, 1, 3)
    bus.failures = [asyncio.CancelledError()]
    async with running(feed_of(counting, bus)) as task:
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
        assert not task.done()
        task.cancel()  # and when we are cancelled ourselves, it does end
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()


def _relay(counting: OpenService, bus: Any) -> Relay:
    def lead(name: str) -> Leader:
        return Leader(counting.tables, name, "one", 30)

    return Relay(counting.store, counting.tables, lead, bus, 7, 0.02)


async def test_a_feed_that_dies_is_begun_again_and_the_others_live_on_b7(counting: OpenService) -> None:
    bus, other, log = AnsweringBus(), AnsweringBus(), await append(counting, 2, 3)
    bus.failures = [ZeroDivisionError("nobody expected it"), RuntimeError("nor this")]

    class Two(AnsweringBus):
        async def publish(self, subscription: Subscription, events: Any) -> Any:
            return await (bus if subscription.consumer == "c" else other).publish(subscription, events)

    await record(counting)
    await record(counting, Subscription("d", "counting", SUBSCRIPTION.event_types))
    async with running(_relay(counting, Two())) as task:
        await until(lambda: len(other.taken) == len(log), "the other")
        await until(lambda: len(bus.taken) == len(log), "the one that died twice")
        assert not task.done()
    assert bus.positions == [event.position for event in log]


async def test_lasting_trouble_is_recorded_and_cleared_when_it_flows(
    counting: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagakit.feed._TROUBLE_SECONDS", 0.05)
    bus, log = AnsweringBus(), await append(counting, 1, 3)
    bus.is_away = True
    await record(counting)

    async def trouble() -> str:
        return (await row_of(counting)).trouble or ""

    async def is_clear() -> bool:
        return await trouble() == ""

    async with running(feed_of(counting, bus)):
        await until(trouble, "the trouble to be recorded")
        assert "away, says the test" in await trouble()
        bus.is_away = False
        await until(is_clear, "the trouble to be cleared")
    assert bus.positions == [event.position for event in log]


async def test_over_its_limit_a_consumer_is_left_alone_until_half_of_it_is_gone(counting: OpenService) -> None:
    bus = AnsweringBus()
    await record(counting)

    async def is_detached() -> bool:
        return (await row_of(counting)).detached_at is not None

    async with running(feed_of(counting, bus)):
        log = await append(counting, 1, 3)
        await until(lambda: len(bus.taken) == 3, "the first")
        bus.waiting = 101
        await until(is_detached, "the limit to be noticed")
        assert (await row_of(counting)).detached_at == log[-1].position
        log = await append(counting, 1, 3, before=3)
        bus.waiting, asked = 51, bus.asked
        await until(lambda: bus.asked > asked + 1, "another look")
        assert await is_detached()
        assert len(bus.taken) == 3
    async with running(feed_of(counting, bus)):  # another process knows it too
        asked = bus.asked
        await until(lambda: bus.asked > asked, "a look")
        assert len(bus.taken) == 3
        bus.waiting = 50
        await until(lambda: len(bus.taken) == 6, "the rest")
        assert not await is_detached()
    assert bus.positions == [event.position for event in log]


async def test_a_restored_log_that_has_grown_since_is_noticed_a9(counting: OpenService) -> None:
    bus, log = AnsweringBus(), await append(counting, 1, 4)
    async with running(feed_of(counting, bus)):
        await until(stands_at(counting, log[-1]), "the checkpoint at the end")
    async with counting.tables.transaction() as session:
        connection = await session.connection()
        await connection.execute(text("delete from events where version > 2"))
        if connection.dialect.name == "postgresql":
            await connection.execute(text("alter table events alter column position restart with 3"))
    for version in range(2, 6):  # the positions are used again, past the checkpoint
        await counting.store.append(Append("counter-0", version, (added(),)))
    assert await counting.store.head() > await position_of(counting)
    with pytest.raises(LogWentBack, match="another event at position"):
        await asyncio.wait_for(feed_of(counting, bus).run(), 20)


async def test_followers_share_the_head_and_a_late_one_meets_it_without_gap_or_inversion_g2(counting: OpenService) -> None:
    log, first, second = SharedLog(counting.store), [], []
    early = log.follow(0)
    for version in range(30):
        await counting.store.append(Append("counter-0", version, (added(),)))
        first += await early.read(3)
    late, seen = log.follow(0), list[RecordedEvent]()
    while page := await late.read(4):
        seen += page
        second += page
    while page := await early.read(100):
        first += page
    assert [e.version for e in first] == [e.version for e in second] == list(range(1, 31))


async def test_commits_do_not_cut_the_pause_before_the_next_attempt_short_b5(counting: OpenService) -> None:
    """A broker in trouble is asked again after a growing pause, not at each commit."""
    bus = AnsweringBus()
    bus.is_away = True
    await append(counting, 1, 1)
    async with running(feed_of(counting, bus)):
        await until(lambda: bus.calls > 5, "a pause of a second", 60)
        calls = bus.calls
        await append(counting, 1, 200, before=1)
        assert bus.calls <= calls + 1


async def test_later_events_of_a_refused_stream_are_no_failure_of_the_batch_b3(counting: OpenService) -> None:
    log, leader = await append(counting, 2, 2), Leader(counting.tables, "x", "one", 30)
    unsent = Unsent(SUBSCRIPTION, leader, AnsweringBus())
    answers = {log[0].position: NotSendable("large"), log[1].position: None, log[2].position: BusUnavailable("stands behind")}
    judgement = unsent.judge(log, answers | {log[3].position: None})
    assert (judgement.done, judgement.failure) == (4, None)
    assert [(event.version, state) for event, _, state in judgement.aside] == [(1, "parked"), (2, "behind")]
    judgement = unsent.judge(log, dict.fromkeys((log[0].position, log[1].position)) | {log[2].position: OSError("away")})
    assert (judgement.done, str(judgement.failure), judgement.aside) == (2, "away", [])


async def test_a_replay_never_overtakes_the_live_cursor_and_goes_on_where_it_stopped_g3(counting: OpenService) -> None:
    log, bus = await append(counting, 1, 8), AnsweringBus()
    leader = Leader(counting.tables, "subscription c", "one", 30)
    await leader.take()
    await leader.advance(log[5].position, log[5].id)
    row = ReplayRow(
        id="r", consumer="c", first=log[1].position, last=log[7].position, position=log[1].position - 1, actor="kim",
        requested_at=datetime.now(UTC),
    )  # fmt: skip

    async def replay(asked: ReplayRow) -> Replaying:
        return Replaying(asked, SUBSCRIPTION, SharedLog(counting.store), leader, bus)

    async def kept() -> ReplayRow:
        async with counting.tables.transaction() as session:
            return (await session.exec(select(ReplayRow))).one()

    async with counting.tables.transaction() as session:
        session.add(ReplayRow(**row.model_dump()))
    assert not await (await replay(row)).step(frozenset(), 3)
    assert ((await kept()).position, (await kept()).sent, (await kept()).ended_at) == (log[3].position, 3, None)
    assert await (await replay(await kept())).step(frozenset(), 3)  # another process goes on, up to the live cursor
    assert bus.positions == [event.position for event in log[1:6]]
    assert ((await kept()).sent, (await kept()).ended_at is not None) == (5, True)
    other = Leader(counting.tables, "subscription c", "two", 30)
    await leader.release()
    assert await other.take()
    with pytest.raises(LeaseLost):  # and a former leader writes nothing
        await (await replay(row)).step(frozenset(), 3)
    assert (await kept()).sent == 5
