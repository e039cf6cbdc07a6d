"""Past a cap of undelivered events commands are refused before anything is decided; below it they go on (failures B6)."""

from __future__ import annotations

import asyncio
import uuid
from urllib.parse import urlsplit

import pytest

from sagakit.errors import BackPressure, BusUnavailable, InfrastructureError
from sagakit.leadership import Leader
from sagakit.ports import Subscription
from sagakit.pressure import Pressure
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.repository import Context
from sagakit.sql import subscriptions
from sagakit.system import OpenService
from tests.support.feeding import AnsweringBus, append, feed_of, record, row_of, running
from tests.support.proxy import proxied
from tests.support.shop import Counter, Note
from tests.support.waiting import until

LIMIT = 10


async def _note(counting: OpenService, counter: str = "a") -> None:
    await counting.repository.handle(Counter, Note(counter=counter, text="x"), Context())


async def test_commands_are_refused_over_the_cap_and_taken_again_by_themselves_i10(counting: OpenService) -> None:
    pressure = Pressure(counting.repository, counting.tables, ["c"], LIMIT)
    await pressure.look()  # nobody is owed anything
    await record(counting)
    log = await append(counting, 1, LIMIT)
    await pressure.look()
    await _note(counting)  # the eleventh
    await pressure.look()
    head = await counting.store.head()
    with pytest.raises(BackPressure, match=rf"{log[-1].position + 1} events are not delivered yet, over the limit of 10 .* c is"):
        await _note(counting)
    assert isinstance(counting.repository.refusal, InfrastructureError)  # so Temporal tries again
    assert await counting.store.head() == head
    async with running(pressure), running(feed_of(counting, AnsweringBus())):
        await until(lambda: counting.repository.refusal is None, "commands to be taken again")
    await _note(counting)


@pytest.mark.parametrize("why", ["detached", "not declared"])
async def test_who_is_left_alone_holds_no_commands_back(counting: OpenService, why: str) -> None:
    await record(counting)
    await append(counting, 1, LIMIT + 5)
    if why == "detached":
        async with counting.tables.transaction() as session:
            row = await row_of(counting)
            row.detached_at = 3
            session.add(row)
    pressure = Pressure(counting.repository, counting.tables, ["c"] if why == "detached" else [], LIMIT)
    await pressure.look()
    await _note(counting)


async def test_with_the_broker_away_commands_go_on_up_to_the_cap_and_drain_after_it_b6(
    counting: OpenService, rabbitmq_url: str
) -> None:
    parts = urlsplit(rabbitmq_url)
    name = f"c{uuid.uuid4().hex[:8]}"
    subscription = Subscription(name, "counting", frozenset({"counter.noted"}))
    await record(counting, subscription)

    def lead(checkpoint: str) -> Leader:
        return Leader(counting.tables, checkpoint, "one", 30)

    async with proxied(parts.hostname or "", parts.port or 0) as (proxy, port):
        bus = RabbitBus(rabbitmq_url.replace(f":{parts.port}", f":{port}"), 2, 50)
        await bus.open()
        pressure = Pressure(counting.repository, counting.tables, [name], LIMIT)
        try:
            async with running(Relay(counting.store, counting.tables, lead, bus, 20, 0.02)), running(pressure):
                await _note(counting)
                await until(lambda: _drained(counting, name), "the first to be delivered")
                proxy.set("refuse")
                proxy.reset()
                taken = await _until_refused(counting)
                print(f"{taken} commands were taken with the broker away, over a cap of {LIMIT}")
                assert taken > LIMIT
                proxy.set("pass")
                await until(lambda: counting.repository.refusal is None, "commands to be taken again", 60)
                await _note(counting)
                await until(lambda: _drained(counting, name), "the log to drain", 60)
                await until(lambda: _holds(bus, subscription, taken + 1), "the queue to hold all that was taken", 30)
        finally:
            await bus.close()


async def _until_refused(counting: OpenService) -> int:
    for taken in range(1, 100_000):
        try:
            await _note(counting, f"{taken % 7}")
        except BackPressure:
            return taken
        await asyncio.sleep(0.05 if taken > LIMIT else 0)  # it is looked at once a second
    raise AssertionError("no command was ever refused")


async def _drained(counting: OpenService, name: str) -> bool:
    async with counting.tables.transaction() as session:
        return (await subscriptions.cursors(session, [name]))[name] == await counting.store.head()


async def _holds(bus: RabbitBus, subscription: Subscription, messages: int) -> bool:
    try:
        return await bus.backlog(subscription) >= messages
    except BusUnavailable:
        return False
