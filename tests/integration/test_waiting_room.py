"""The waiting room: growing pauses that block no other key, order, restarts, races, and what 1 poison event in 500 does (G5, C6)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlmodel import select

from sagakit.consumer import Consumer
from sagakit.errors import InfrastructureError, SagakitError
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.sql import parked_actions, parking
from sagakit.sql.parked_actions import Action
from sagakit.sql.tables import ParkedActionRow, ParkedRow
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
from tests.support.waiting import until

BY = ("kim", "the bug is fixed")
BY_KIM = Action(*BY)


@asynccontextmanager
async def _running(*consumers: Consumer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(consumer.retrier.run()) for consumer in consumers]
    try:
        yield
    finally:
        for consumer in consumers:
            consumer.retrier.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def _row(service: OpenService, event: RecordedEvent) -> ParkedRow:
    async with service.tables.transaction() as session:
        found = await session.get(ParkedRow, ("c", str(event.id)))
    assert found is not None
    return found


async def test_attempts_are_counted_in_the_database_with_growing_pauses_then_it_is_parked_c6(service: OpenService) -> None:
    effect, poison = Summing(("counter-a", 1)), event("counter-a", 1)
    await consumer_of(service, effect, attempts=4, pause=10).handle([poison])
    pauses = [(await _row(service, poison)).due_at - time.time()]
    for _ in range(2):  # each in a new process
        now = (await _row(service, poison)).due_at
        retrier = consumer_of(service, effect, attempts=4, pause=10).retrier
        assert await retrier.retry_due(now - 1) == 0, "not before its time"
        assert await retrier.retry_due(now) == 1
        pauses.append((await _row(service, poison)).due_at - time.time())
    assert 5 < pauses[0] < 14
    assert 26 < pauses[2] <= 60
    assert pauses[0] < pauses[1] < pauses[2]
    await exhaust(consumer_of(service, effect, attempts=4, pause=10))
    assert await waiting(service) == [("counter-a", 1, "parked", 4)]
    assert len(effect.tried) == 5, "four attempts, the first of them once more alone"
    assert (await _row(service, poison)).reason == "ValueError: poison"


async def test_an_error_that_says_so_parks_at_once(service: OpenService) -> None:
    class Hopeless(SagakitError):
        parks_at_once = True

    async def effect(_session: Any, _event: RecordedEvent) -> None:
        raise Hopeless("never")

    await consumer_of(service, effect).handle(events("counter-a", 1))
    assert await waiting(service) == [("counter-a", 1, "parked", 1)]


async def test_a_long_pause_holds_back_no_other_key_g5_c6(service: OpenService) -> None:
    consumer = consumer_of(service, Summing(("counter-bad", 1)), pause=60)
    async with _running(consumer), asyncio.timeout(30):  # the pause is over in 42 s at the earliest
        for version in range(1, 31):
            await consumer.handle([event("counter-bad", version), event("counter-good", version)])
    assert await orders(service) == {"counter-good": order(30)}
    assert [row[1] for row in await waiting(service)] == list(range(1, 31))


async def test_a_head_that_succeeds_releases_its_followers_in_order_also_after_a_restart_g3_g5(service: OpenService) -> None:
    effect, batch = Summing(("counter-a", 2)), events("counter-a", 12)
    random.Random(3).shuffle(late := batch[7:])
    await consumer_of(service, effect, pause=60).handle(batch[:7])
    effect.poison.clear()
    restarted = consumer_of(service, effect)
    async with service.tables.transaction() as session:
        for follower in late:  # whatever the order of their coming
            await parking.set_aside(session, "c", follower, parking.BEHIND, "behind")
    async with service.tables.transaction() as session:
        await parked_actions.retry(session, await parked_actions.find(session, "c", str(batch[1].id)), BY_KIM)
    async with _running(restarted):
        await until(lambda: _is_empty(service), "the stream to be released")
    assert await orders(service) == {"counter-a": order(12)}
    assert await heads(service) == {"counter-a": (12, 12)}


async def _is_empty(service: OpenService) -> bool:
    return not await waiting(service)


async def test_a_follower_that_fails_parks_the_rest_behind_itself_g5(service: OpenService) -> None:
    effect, batch = Summing(("counter-a", 1), ("counter-a", 3)), events("counter-a", 4)
    consumer = consumer_of(service, effect)
    await consumer.handle(batch)
    effect.poison.discard(("counter-a", 1))
    await exhaust(consumer)
    assert await orders(service) == {"counter-a": "1 2"}
    assert await waiting(service) == [("counter-a", 3, "parked", 3), ("counter-a", 4, "behind", 0)]


async def test_a_follower_that_arrives_while_the_last_one_is_released_is_not_forgotten(service: OpenService) -> None:
    """It saw the row that was just being removed, and put itself behind nothing."""
    effect, batch = Summing(("counter-a", 1)), events("counter-a", 3)
    consumer = consumer_of(service, effect)
    await consumer.handle(batch[:1])
    effect.poison.clear()
    await exhaust(consumer)
    async with service.tables.transaction() as session:
        await parking.set_aside(session, "c", batch[1], parking.BEHIND, "behind")
        await parking.set_aside(session, "c", batch[0], parking.BEHIND, "behind")  # itself: it came again just then
    consumer.retrier._look_for_stranded_at = 0
    await consumer.handle(batch[2:])
    await exhaust(consumer)
    assert await orders(service) == {"counter-a": "1 2 3"}
    assert await waiting(service) == []


async def test_two_processes_release_and_receive_the_same_streams_at_once_g3_g5(service: OpenService) -> None:
    """Two retriers, and two intakes that get the same events in turn, while the poison is healed half way."""
    effect = Summing(*((f"counter-{n}", 3) for n in range(0, 12, 3)))
    consumers = [consumer_of(service, effect, attempts=1000, pause=0.01) for _ in range(2)]

    async def receive(consumer: Consumer, seed: int) -> None:
        chance, version = random.Random(seed), 1
        while version <= 12:
            upto = min(13, version + chance.randint(1, 4))
            batch = [event_of[n, v] for v in range(version, upto) for n in range(12)]
            while True:  # as an intake does: a deadlock between the two is the machine's trouble, and the batch comes again
                try:
                    await consumer.handle(batch)
                    break
                except InfrastructureError:
                    await asyncio.sleep(0.01)
            version = upto

    event_of = {(n, v): event(f"counter-{n}", v) for n in range(12) for v in range(1, 13)}
    async with _running(*consumers):
        receiving = [asyncio.create_task(receive(consumer, seed)) for seed, consumer in enumerate(consumers)]
        await until(lambda: len([1 for _, version in effect.tried if version == 3]) > 8, "some failures")
        effect.poison.clear()
        await asyncio.wait_for(asyncio.gather(*receiving), 60)
        await until(lambda: _is_empty(service), "everything to be released", 60)
    assert await orders(service) == {f"counter-{n}": order(12) for n in range(12)}
    assert await heads(service) == {f"counter-{n}": (12, 12) for n in range(12)}


async def test_one_poison_event_in_500_parks_exactly_its_keys_and_retry_all_ends_with_none_g5_g6_a11(
    service: OpenService,
) -> None:
    keys, last = 100, 20
    chance = random.Random(7)
    log = [event(f"counter-{n}", version) for version in range(1, last + 1) for n in range(keys)]
    poison = {(e.stream, e.version) for e in chance.sample(log, len(log) // 500)}
    first = {stream: min(version for name, version in poison if name == stream) for stream, _ in poison}
    assert len(first) < len(poison), "one stream has two: the second waits behind the first"
    effect = Summing(*poison)
    consumer = consumer_of(service, effect, attempts=2)
    async with _running(consumer):
        for begin in range(0, len(log), 100):
            await consumer.handle(log[begin : begin + 100])
        await until(lambda: _all_parked(service, first), "the poison to be parked")
    for stream, done in (await orders(service)).items():
        assert done == order(first.get(stream, last + 1) - 1), "everything before the poison, and nothing behind it"
    assert len(await orders(service)) >= keys - len(first)
    effect.poison.clear()  # the fix is deployed
    async with service.tables.transaction() as session:
        assert await parked_actions.retry_all(session, None, BY_KIM) == len(first)
    async with _running(consumer_of(service, effect)):
        await until(lambda: _is_empty(service), "everything to be handled", 60)
    fold = {stream: order(last) for stream in {e.stream for e in log}}
    assert await orders(service) == fold
    assert await heads(service) == dict.fromkeys(fold, (last, last))
    async with service.tables.transaction() as session:
        noted = (await session.exec(select(ParkedActionRow))).all()
    assert {(row.stream, row.version, row.actor, row.reason) for row in noted} == {(*p, *BY) for p in first.items()}


async def _all_parked(service: OpenService, first: dict[str, int]) -> bool:
    return {(stream, version) for stream, version, state, _ in await waiting(service) if state == "parked"} == set(first.items())


async def test_a_dropped_event_counts_as_handled_and_its_followers_go_on_g5(service: OpenService) -> None:
    effect, batch = Summing(("counter-a", 2)), events("counter-a", 4)
    consumer = consumer_of(service, effect, attempts=1)
    await consumer.handle(batch)
    async with service.tables.transaction() as session:
        await parked_actions.drop(session, await parked_actions.find(session, "c", str(batch[1].id)), BY_KIM)
    await exhaust(consumer)
    assert await orders(service) == {"counter-a": "1 3 4"}
    assert await heads(service) == {"counter-a": (4, 3)}
    await consumer.handle(batch)  # a replay does not bring it back
    assert (await waiting(service), (await counted(service)).repeats) == ([], 4)


async def test_a_row_that_is_tried_just_now_is_left_to_who_tries_it(service: OpenService) -> None:
    entered, go_on, tried = asyncio.Event(), asyncio.Event(), []

    async def slow(_session: Any, event: RecordedEvent) -> None:
        tried.append(event.version)
        if len(tried) < 3:
            raise ValueError("not yet")
        entered.set()
        await go_on.wait()

    await consumer_of(service, slow).handle(events("counter-a", 1))
    first = asyncio.create_task(consumer_of(service, slow).retrier.retry_due(1e12))
    await entered.wait()
    second = asyncio.create_task(consumer_of(service, slow).retrier.retry_due(1e12))
    await asyncio.wait([second], timeout=0.3)
    go_on.set()
    assert await first == 1
    assert await second == 0
    assert tried == [1, 1, 1]


def test_pauses_grow_to_a_minute_and_differ() -> None:
    patience, now = Patience(100, 0.2), time.time()
    pauses = [patience.after(attempts, ValueError())[1] - now for attempts in (1, 2, 3, 9, 50, 99)]
    assert 0.1 < pauses[0] < 0.3 < pauses[2] < 1.2
    assert all(35 < pause < 80 for pause in pauses[3:])  # 0.7 * 51.2 s is the shortest, 1.3 * 60 s the longest
    assert len({patience.after(5, ValueError())[1] - now for _ in range(9)}) > 1
    assert patience.after(100, ValueError()) == ("parked", 0.0)
