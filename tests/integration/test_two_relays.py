"""Two relay processes over PostgreSQL and RabbitMQ, the leader stopped past its lease and woken again (I8, failures B10)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import select

from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.settings import load_settings
from sagakit.sql.tables import CheckpointRow
from sagakit.system import OpenService, System
from tests.support.feeding import record
from tests.support.processes import end, spawn
from tests.support.shop import SERVICES, added
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
LEASE = 2.0


async def _checkpoint(opened: OpenService, name: str) -> tuple[str, int, int]:
    async with opened.tables.transaction() as session:
        row = (await session.exec(select(CheckpointRow).where(CheckpointRow.name == name))).first()
    return (row.owner, row.epoch, row.position) if row else ("", 0, 0)


async def test_a_leader_that_sleeps_past_its_lease_changes_nothing_when_it_wakes_i8_b10(  # noqa: PLR0915 one story
    postgres_url: str, rabbitmq_url: str, tmp_path: Path
) -> None:
    database = f"{postgres_url}/t{uuid.uuid4().hex[:8]}_{{service}}"
    name = f"c{uuid.uuid4().hex[:8]}"
    checkpoint = f"subscription {name}"
    command = [sys.executable, "-m", "tests.support.relaying", database, rabbitmq_url, str(LEASE)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    arrived: list[RecordedEvent] = []
    moves: list[tuple[str, int, int]] = []
    done = asyncio.Event()

    async def handle(events: Sequence[RecordedEvent]) -> None:
        arrived.extend(events)

    async with System(load_settings(data=tmp_path, database=database), SERVICES) as system:
        opened, bus = await system.open("counting"), RabbitBus(rabbitmq_url, 5, 50)
        subscription = Subscription(name, "counting", frozenset({"counter.added"}), 1, 1_000_000)
        await record(opened, subscription)
        await bus.open()
        await bus.declare([subscription])
        stop = await bus.consume(subscription, handle)
        relays = [spawn(command, tmp_path / f"relay{n}.log", env) for n in range(2)]

        async def write() -> int:
            version = 0
            while not done.is_set():
                for stream in range(5):
                    await opened.store.append(Append(f"counter-{stream}", version, (added(),)))
                version += 1
            return version

        async def watch() -> None:
            while not done.is_set():
                moves.append(await _checkpoint(opened, checkpoint))
                await asyncio.sleep(0.02)

        writing, watching = asyncio.create_task(write()), asyncio.create_task(watch())
        try:
            await until(lambda: len(arrived) > 50, "the first to lead", 60)
            for _ in range(2):  # each of them once
                owner, epoch, position = await _checkpoint(opened, checkpoint)
                os.kill(int(owner), signal.SIGSTOP)
                slept_at = time.monotonic()
                await until(
                    lambda was=position, of=owner: moves[-1][0] != of and moves[-1][2] > was, "the other to take over", 30
                )
                took = time.monotonic() - slept_at
                print(f"took over and moved on after {took:.1f} s with a lease of {LEASE} s")
                assert took < LEASE + 2 + 2  # two seconds more for a machine that is busy with other tests
                os.kill(int(owner), signal.SIGCONT)
                heard = len(arrived)
                await until(lambda was=heard: len(arrived) > was + 50, "the new one to go on beside the woken one")
                assert moves[-1][1] == epoch + 1
            done.set()
            versions = await writing
            await watching
            total = versions * 5
            await until(lambda: len({event.id for event in arrived}) == total, "everything", 60)
        finally:
            done.set()
            await asyncio.gather(writing, watching, return_exceptions=True)
            for relay in relays:
                relay.send_signal(signal.SIGCONT)
                end(relay, signal.SIGKILL)
            await stop()
            await bus.close()
    positions = [move[2] for move in moves]
    assert positions == sorted(positions), "a checkpoint moved back"
    seen: set[uuid.UUID] = set()
    first = [event for event in arrived if not (event.id in seen or seen.add(event.id))]
    print(f"{len(first)} events, {len(arrived) - len(first)} copies more, {len(set(moves))} places of the checkpoint seen")
    for stream in range(5):
        assert [e.version for e in first if e.stream == f"counter-{stream}"] == list(range(1, versions + 1))
