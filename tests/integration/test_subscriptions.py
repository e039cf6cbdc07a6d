"""Consumers of another code base are recorded while the producer runs; a range of the log is sent once more (G3, G5)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from sagakit.leadership import Leader
from sagakit.memory.bus import MemoryBus
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.command_line import run_command
from tests.support.feeding import append, record, running
from tests.support.processes import end, spawn
from tests.support.readers import OWED, READERS, THERE, handle_all
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
async def system(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    database = "sqlite"
    if request.param == "postgres":
        database = f"{request.getfixturevalue('postgres_url')}/t{uuid.uuid4().hex[:8]}_{{service}}"
    monkeypatch.setenv("SAGAKIT_DATABASE", database)
    monkeypatch.setenv("SAGAKIT_DATA", str(tmp_path))
    async with System(load_settings(data=tmp_path), READERS) as opened:
        await opened.open("counting")
        await opened.open("reading")
        yield opened


@pytest.fixture(params=["memory", "rabbitmq"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    rabbit = RabbitBus(request.getfixturevalue("rabbitmq_url"), 5, 50)
    await rabbit.open()
    yield rabbit
    await rabbit.close()


async def _say(*args: str) -> tuple[int, str]:
    code, output = await asyncio.to_thread(run_command, READERS, *args)
    return code, " ".join(output.split())


async def _list() -> dict[str, dict[str, Any]]:
    code, output = await asyncio.to_thread(run_command, READERS, "subscriptions", "list", "--json")
    assert code == 0
    return {row["consumer"]: row for row in json.loads(output)}


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("add", "x", "--service", "nowhere", "--types", "counter.added"), "there is no service 'nowhere'; known: counting"),
        (("add", "x", "--service", "counting", "--types", "counter.added,no.such"), "counting records no no.such; known: counter.add"),
        (("add", "x", "--service", "counting", "--types", " , "), "--types names no event type"),
        (("add", "x", "--service", "counting", "--types", "counter.added", "--from", "7"), "a position from 0 to 2"),
        (("add", "x", "--service", "counting", "--types", "counter.added", "--from", "soon"), "beginning, now, or a position"),
        (("add", THERE, "--service", "counting", "--types", "counter.added"), "is declared by the list of services"),
        (("add", "known", "--service", "counting", "--types", "counter.added"), "known is recorded already"),
        (("remove", THERE), "is declared by the list of services"),
        (("remove", "nobody"), "no subscription nobody"),
        (("set", THERE, "--backlog-limit", "7"), "is declared by the list of services"),
        (("set", "known"), "nothing to change"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_refused_in_one_sentence(system: System, args: tuple[str, ...], complaint: str) -> None:
    counting = await system.open("counting")
    await append(counting, 1, 2)
    await record(counting, OWED)
    assert (await _say("subscriptions", "add", "known", "--service", "counting", "--types", "hoard.gained"))[0] == 0
    code, output = await _say("subscriptions", *args)
    assert code == 2
    assert complaint in output
    assert (await _list()).keys() == {THERE, "known"}


async def test_a_subscription_is_listed_changed_and_removed(system: System) -> None:
    log = await append(await system.open("counting"), 1, 3)
    add = ("subscriptions", "add", "x", "--service", "counting", "--types", "counter.added", "--from", str(log[0].position))
    assert (await _say(*add))[0] == 0
    assert (await _list())["x"] == {
        "consumer": "x", "service": "counting", "types": ["counter.added"], "partitions": 1, "limit": 10_000,
        "position": log[0].position, "behind": log[-1].position - log[0].position, "state": "of another code base",
    }  # fmt: skip
    assert (await _say("subscriptions", "set", "x", "--types", "counter.noted", "--backlog-limit", "5"))[0] == 0
    assert ((await _list())["x"]["types"], (await _list())["x"]["limit"]) == (["counter.noted"], 5)
    assert (await _say("subscriptions", "remove", "x"))[0] == 0
    assert await _list() == {}
    assert (await _say(*add[:-2], "--from", "now"))[0] == 0  # the same name again begins where it is told to
    assert (await _list())["x"]["position"] == log[-1].position


async def test_one_that_is_no_longer_declared_is_named_and_can_be_removed(system: System) -> None:
    await record(await system.open("counting"), OWED)
    renamed = OWED.__class__("reading.projection.old", "counting", OWED.event_types)
    await record(await system.open("counting"), renamed)
    assert "no longer declared" in (await _list())["reading.projection.old"]["state"]
    _, output = await _say("doctor")
    assert "reading.projection.old is no longer declared" in output.replace("│", "")
    assert (await _say("subscriptions", "remove", "reading.projection.old"))[0] == 0
    assert (await _list()).keys() == {THERE}


async def test_a_consumer_of_another_code_base_needs_no_change_and_no_restart_of_the_producer_g3(
    postgres_url: str, rabbitmq_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"{postgres_url}/t{uuid.uuid4().hex[:8]}_{{service}}"
    monkeypatch.setenv("SAGAKIT_DATABASE", database)
    name = f"foreign{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "tests.support.relaying", database, rabbitmq_url, "5"]
    async with System(load_settings(data=tmp_path), READERS) as system:
        counting = await system.open("counting")
        log = await append(counting, 3, 5)
        producer = spawn(command, tmp_path / "relay.log", os.environ | {"PYTHONPATH": str(ROOT)})
        connection = await aio_pika.connect(rabbitmq_url)
        try:
            types = ("--types", "counter.added")
            code, output = await _say("--data", str(tmp_path), "subscriptions", "add", name, "--service", "counting", *types)
            assert code == 0, output
            got: list[tuple[Any, Any, bytes]] = []
            queue = await _queue(connection, name)

            async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                got.append((message.headers["stream"], message.headers["version"], message.body))
                await message.ack()

            await queue.consume(take)
            await until(lambda: len(got) == len(log), "the past", 60)
            log = await append(counting, 3, 2, before=5)
            await until(lambda: len(got) == len(log), "the present", 60)
            assert producer.poll() is None
        finally:
            await connection.close()
            end(producer)
    assert [(stream, version) for stream, version, _ in got] == [(event.stream, event.version) for event in log]
    assert {body for _, _, body in got} == {event.data.encode() for event in log}


async def _queue(connection: aio_pika.abc.AbstractConnection, name: str) -> aio_pika.abc.AbstractQueue:
    async with asyncio.timeout(60):
        while True:
            channel = await connection.channel()
            try:
                return await channel.get_queue(name)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                await asyncio.sleep(0.1)


async def test_a_range_is_sent_once_more_and_what_was_handled_before_is_told_g5(system: System, bus: Bus) -> None:
    counting, reading = await system.open("counting"), await system.open("reading")
    log, seen = await append(counting, 3, 10), list[RecordedEvent]()
    await record(counting, OWED)

    def lead(name: str) -> Leader:
        return Leader(counting.tables, name, "one", 30)

    async def handle(events: Sequence[RecordedEvent]) -> None:
        seen.extend(events)

    await bus.declare([OWED])
    if not isinstance(bus, MemoryBus):  # what another test left
        await _empty(bus)
    stop = await bus.consume(OWED, handle)
    async with running(Relay(counting.store, counting.tables, lead, bus, 4, 0.02)):
        await until(lambda: len(seen) == len(log), "the live events")
        await handle_all(reading, log[:12])
        asked = ("--from", str(log[4].position), "--to", str(log[19].position))
        code, output = await _say("replay", "--consumer", THERE, *asked)
        assert code == 0, output
        assert f"Sent 16 of 16 events, of which {THERE} had handled 8 before." in output
        await until(lambda: len(seen) == len(log) + 16, "the replay")
        log = await append(counting, 3, 1, before=10)  # and live goes on
        await until(lambda: len(seen) == len(log) + 16, "the live events")
    await stop()
    assert [event.position for event in seen[30:46]] == [event.position for event in log[4:20]]
    assert [event.position for event in seen[46:]] == [event.position for event in log[30:]]


async def _empty(bus: Bus) -> None:
    async def take(_events: Sequence[RecordedEvent]) -> None:
        pass

    stop = await bus.consume(OWED, take)
    await until(lambda: _is_empty(bus), "an empty queue")
    await stop()


async def _is_empty(bus: Bus) -> bool:
    return await bus.backlog(OWED) == 0


async def test_a_replay_without_a_relay_says_so_and_a_relay_that_starts_fulfils_it(system: System) -> None:
    counting = await system.open("counting")
    log, seen, bus = await append(counting, 1, 4), list[RecordedEvent](), MemoryBus()
    await record(counting, OWED)
    code, output = await _say("replay", "--consumer", THERE, "--timeout", "0.5")
    assert code == 1
    assert "nothing moved for 0.5 s, at position 0 of 4: is `start` running" in output

    def lead(name: str) -> Leader:
        return Leader(counting.tables, name, "one", 30)

    async def handle(events: Sequence[RecordedEvent]) -> None:
        seen.extend(events)

    await bus.consume(OWED, handle)
    async with running(Relay(counting.store, counting.tables, lead, bus, 3, 0.02)):
        await until(lambda: len(seen) == 2 * len(log), "live and replay")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ((), "give a slice's file, or --consumer"),
        (("x.jsonl", "--consumer", "c"), "exactly one of the two"),
        (("--consumer", "nobody"), "no subscription nobody"),
        (("--consumer", THERE, "--from", "9"), "--from 9 is behind --to 2; the log of counting ends at 2"),
    ],
)
async def test_a_wrong_replay_is_refused_in_one_sentence(system: System, args: tuple[str, ...], complaint: str) -> None:
    await append(await system.open("counting"), 1, 2)
    await record(await system.open("counting"), OWED)
    code, output = await _say("replay", *args)
    assert code == 2
    assert complaint in output
