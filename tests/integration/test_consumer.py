"""The consumer's inbox, its heads and its batches, on both databases (G3, C1, C3, C9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sagakit.errors import InfrastructureError, TemporalUnavailable
from sagakit.messages import RecordedEvent
from sagakit.sql import consumers, parking
from sagakit.system import OpenService
from tests.support.deliveries import (
    Summing,
    consumer_of,
    counted,
    event,
    events,
    exhaust,
    heads,
    order,
    orders,
    waiting,
)


async def test_a_repeated_event_has_one_effect_and_is_counted_g3_c1(service: OpenService) -> None:
    consumer, batch = consumer_of(service, Summing()), events("counter-a", 3)
    await consumer.handle(batch)
    await consumer_of(service, Summing()).handle(batch)  # after a restart
    await consumer.handle([batch[1], event("counter-a", 4), batch[0]])
    assert await orders(service) == {"counter-a": "1 2 3 4"}
    assert (await counted(service)).repeats == 5
    assert await heads(service) == {"counter-a": (4, 4)}
    assert await waiting(service) == []


async def test_an_event_twice_in_one_batch_has_one_effect_g3(service: OpenService) -> None:
    first, second = events("counter-a", 2)
    await consumer_of(service, Summing()).handle([first, first, second, first])
    assert await orders(service) == {"counter-a": "1 2"}
    assert (await counted(service)).repeats == 2


async def test_a_batch_is_one_transaction_with_few_statements(service: OpenService) -> None:
    said: list[str] = []

    async def nothing(_session: Any, _event: RecordedEvent) -> None:
        pass

    consumer = consumer_of(service, nothing)
    await consumer.handle(events("counter-z", 1))
    sqlalchemy_event.listen(
        service.tables.engine.sync_engine, "before_cursor_execute", lambda _c, _u, statement, *_: said.append(statement)
    )
    await consumer.handle([event(f"counter-{n}", version) for version in range(1, 3) for n in range(100)])
    writes = [statement.split()[2] for statement in said if statement.lstrip().startswith("insert")]
    assert writes == ["sagakit_inbox", "sagakit_heads"]
    assert len(said) <= 6
    assert len(await heads(service)) == 101


async def test_what_fails_in_a_batch_takes_nothing_else_with_it_g5(service: OpenService) -> None:
    effect = Summing(("counter-b", 2))
    batch = [event(f"counter-{name}", version) for version in (1, 2, 3) for name in "abc"]
    consumer = consumer_of(service, effect)
    await consumer.handle(batch)
    assert await orders(service) == {"counter-a": "1 2 3", "counter-b": "1", "counter-c": "1 2 3"}
    assert await waiting(service) == [("counter-b", 2, "retrying", 1), ("counter-b", 3, "behind", 0)]
    assert await heads(service) == {"counter-a": (3, 3), "counter-b": (1, 1), "counter-c": (3, 3)}
    await consumer.handle(batch)
    assert len(await waiting(service)) == 2, "a redelivery of what waits changes nothing"
    assert (await counted(service)).repeats == 7


async def test_an_older_version_that_is_not_in_the_inbox_is_parked_at_once_and_never_applied_c9(service: OpenService) -> None:
    effect, late = Summing(), event("counter-a", 1)
    consumer = consumer_of(service, effect)
    await consumer.handle([event("counter-a", 2), event("counter-b", 1)])
    await consumer.handle([late, event("counter-b", 2), event("counter-a", 3)])
    await exhaust(consumer)
    assert await orders(service) == {"counter-a": "2", "counter-b": "1 2"}
    assert await waiting(service) == [("counter-a", 1, "parked", 0), ("counter-a", 3, "behind", 0)]
    async with service.tables.transaction() as session:
        row = await session.get(parking.ParkedRow, ("c", str(late.id)))
        assert row.reason == "out of order: version 1 came after version 2 of counter-a had taken effect"
    await consumer.handle([event("counter-b", 4), event("counter-b", 3)])
    assert (await orders(service))["counter-b"] == "1 2 4", "also inside one batch"


async def test_one_message_at_two_processes_at_once_has_one_effect_c3(service: OpenService) -> None:
    """The second waits at the inbox row of the first, and finds it handled."""
    entered, go_on, effects = asyncio.Event(), asyncio.Event(), []

    async def slow(session: Any, event: RecordedEvent) -> None:
        entered.set()
        await go_on.wait()
        effects.append(("slow", event.version))

    async def quick(_session: Any, event: RecordedEvent) -> None:
        effects.append(("quick", event.version))

    batch = events("counter-a", 2)
    first = asyncio.create_task(consumer_of(service, slow).handle(batch))
    await entered.wait()
    second = asyncio.create_task(consumer_of(service, quick).handle([*batch, event("counter-a", 3)]))
    await asyncio.wait([second], timeout=0.3)
    assert not second.done()
    go_on.set()
    await asyncio.gather(first, second)
    assert effects == [("slow", 1), ("slow", 2), ("quick", 3)]
    assert await heads(service) == {"counter-a": (3, 3)}


@pytest.mark.parametrize("text_", ["deadlock detected", "database is locked", "disk full"])
async def test_the_machines_trouble_spends_no_attempt(service: OpenService, text_: str) -> None:
    tried: list[int] = []

    async def effect(_session: Any, event: RecordedEvent) -> None:
        tried.append(event.version)
        if len(tried) < 3:
            raise OperationalError("update", {}, Exception(text_))

    consumer, batch = consumer_of(service, effect, attempts=1), events("counter-a", 1)
    for _ in range(2):
        with pytest.raises(InfrastructureError, match=text_):
            await consumer.handle(batch)
        assert await waiting(service) == []
    await consumer.handle(batch)
    assert (len(tried), await heads(service)) == (3, {"counter-a": (1, 1)})


async def test_a_lost_connection_and_a_real_deadlock_spend_no_attempt(service: OpenService) -> None:
    if service.tables.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time: no deadlock, no connection")
    met = asyncio.Barrier(2)
    await consumer_of(service, Summing()).handle([event("counter-x", 1), event("counter-y", 1)])
    lock = text("update counted set events = events where counter = :counter")

    def crossing(one: str, two: str) -> Any:
        tries: list[int] = []

        async def effect(session: Any, _event: RecordedEvent) -> None:
            tries.append(1)
            await session.exec(lock, params={"counter": one})
            if len(tries) == 1:
                await met.wait()
            await session.exec(lock, params={"counter": two})

        return effect

    async def until_done(consumer: Any, batch: list[RecordedEvent]) -> int:
        for failures in range(5):
            try:
                await consumer.handle(batch)
            except InfrastructureError as error:
                assert "deadlock" in str(error)
            else:
                return failures
        raise AssertionError("still deadlocked")

    failures = await asyncio.gather(
        until_done(consumer_of(service, crossing("counter-x", "counter-y"), attempts=1), [event("counter-a", 1)]),
        until_done(consumer_of(service, crossing("counter-y", "counter-x"), attempts=1), [event("counter-b", 1)]),
    )
    assert sorted(failures) == [0, 1]
    assert await waiting(service) == []


async def test_a_paused_consumer_handles_nothing_and_says_who_paused_it(service: OpenService) -> None:
    consumer = consumer_of(service, Summing(("counter-a", 1)))
    await consumer.handle(events("counter-a", 1))
    async with service.tables.transaction() as session:
        await consumers.pause(session, "c", "the rebuild of counted")
    for work in (consumer.handle(events("counter-b", 1)), consumer.retrier.retry_due()):
        with pytest.raises(InfrastructureError, match="consumer c is paused by the rebuild of counted"):
            await work
    assert await orders(service) == {}
    async with service.tables.transaction() as session:
        await consumers.resume(session, "c")
    await consumer.handle(events("counter-b", 1))
    assert await orders(service) == {"counter-b": "1"}


async def test_who_pauses_waits_for_the_batch_in_hand_and_is_not_overtaken(service: OpenService) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_session: Any, _event: RecordedEvent) -> None:
        entered.set()
        await go_on.wait()

    async def pause() -> None:
        async with service.tables.transaction() as session:
            await consumers.pause(session, "c", "a test")

    first = asyncio.create_task(consumer_of(service, slow).handle(events("counter-a", 1)))
    await entered.wait()
    pausing = asyncio.create_task(pause())
    await asyncio.wait([pausing], timeout=0.3)
    assert not pausing.done()
    later = asyncio.create_task(consumer_of(service, slow).handle(events("counter-b", 1)))
    await asyncio.wait([later], timeout=0.1)
    go_on.set()
    await asyncio.gather(first, pausing)
    if service.tables.engine.dialect.name == "postgresql":
        with pytest.raises(InfrastructureError, match="paused by a test"):
            await later
        assert await heads(service) == {"counter-a": (1, 1)}
    else:
        await asyncio.gather(later, return_exceptions=True)  # SQLite gives the lock to whoever asks at the right moment


async def test_what_runs_ahead_runs_in_order_within_a_stream_and_side_by_side_across_g3(service: OpenService) -> None:
    running: set[str] = set()
    most: list[int] = []
    started: list[tuple[str, int]] = []

    async def before(event: RecordedEvent) -> None:
        assert event.stream not in running
        running.add(event.stream)
        started.append((event.stream, event.version))
        await asyncio.sleep(0)
        most.append(len(running))
        running.discard(event.stream)

    batch = [event(f"counter-{n}", version) for version in (1, 2) for n in range(60)]
    consumer = consumer_of(service, None, before=before)
    await consumer.handle(batch)
    await consumer.handle(batch)
    assert len(started) == 120
    assert all(started.index((f"counter-{n}", 1)) < started.index((f"counter-{n}", 2)) for n in range(60))
    assert 1 < max(most) <= 32
    assert (await counted(service)).repeats == 120


async def test_what_fails_ahead_waits_with_its_followers_and_the_machines_trouble_is_raised_g5(service: OpenService) -> None:
    trouble = {"counter-t"}
    ran: list[tuple[str, int]] = []

    async def before(event: RecordedEvent) -> None:
        if event.stream in trouble:
            raise TemporalUnavailable("away")
        ran.append((event.stream, event.version))
        if event.stream == "counter-bad" and event.version == 1 and ran.count(("counter-bad", 1)) < 2:
            raise ValueError("refused")

    consumer = consumer_of(service, None, before=before)
    batch = [event(f"counter-{name}", version) for version in (1, 2) for name in ("t", "bad", "good")]
    with pytest.raises(TemporalUnavailable):
        await consumer.handle(batch)
    assert ran == [("counter-bad", 1), ("counter-good", 1), ("counter-good", 2)]
    assert await waiting(service) == [("counter-bad", 1, "retrying", 1), ("counter-bad", 2, "behind", 0)]
    trouble.clear()
    await consumer.handle(batch)
    assert (await counted(service)).repeats == 0, "what was committed before the trouble is no repetition"
    await exhaust(consumer)
    assert ran[3:] == [("counter-t", 1), ("counter-t", 2), ("counter-bad", 1), ("counter-bad", 2)]
    assert await waiting(service) == []
    assert set((await heads(service)).values()) == {(2, 2)}


async def test_what_runs_ahead_is_never_left_out_when_its_stream_is_released_meanwhile_g3(service: OpenService) -> None:
    """Behind another one when it was looked at, new when it is committed: it must not be entered without having run."""
    ran: list[int] = []
    stale, releasing = True, consumer_of(service, None, before=None)

    async def before(event: RecordedEvent) -> None:
        if event.version == 1 and stale:
            raise ValueError("not yet")
        ran.append(event.version)

    consumer = consumer_of(service, None, before=before)
    await consumer.handle([event("counter-a", 1)])
    run_ahead = consumer._run_ahead

    async def and_then_release(batch: Any) -> Any:
        found = await run_ahead(batch)
        await exhaust(releasing)
        return found

    consumer._run_ahead = and_then_release
    stale = False
    await consumer.handle(events("counter-a", 3)[1:])
    assert ran == []
    await exhaust(consumer)
    assert ran == [2, 3]
    assert await heads(service) == {"counter-a": (3, 3)}


async def test_effects_keep_their_order_over_many_batches_and_repeats_g3(service: OpenService) -> None:
    """A sender that begins again at a random place, as a relay does after trouble."""
    log = [event(f"counter-{n}", version) for version in range(1, 21) for n in range(5)]
    consumer = consumer_of(service, Summing())
    for begin in (0, 17, 9, 40, 33, 65, 75, 60):
        await consumer.handle(log[begin : begin + 25])
    assert await orders(service) == {f"counter-{n}": order(20) for n in range(5)}
