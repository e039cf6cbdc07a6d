"""Two relay processes over PostgreSQL and RabbitMQ, the leader stopped past its lease and woken again (I8, failures B10)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
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
STREAMS = 5
Move: TypeAlias = tuple[str, int, int]
"""Owner, epoch and position of the checkpoint."""


class _Scene:
    """A log that is written to, a consumer of it, and a watch on the checkpoint; relays are spawned by the test."""

    def __init__(self, opened: OpenService, consumer: str, command: list[str], folder: Path) -> None:
        self._opened, self._checkpoint = opened, f"subscription {consumer}"
        self._command, self._folder, self._env = command, folder, os.environ | {"PYTHONPATH": str(ROOT)}
        self.arrived: list[RecordedEvent] = []
        self.moves: list[Move] = []
        self.relays: list[subprocess.Popen[bytes]] = []
        self.done = asyncio.Event()

    def spawn(self, *how: str) -> subprocess.Popen[bytes]:
        self.relays.append(spawn([*self._command, *how], self._folder / f"relay{len(self.relays)}.log", self._env))
        return self.relays[-1]

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        self.arrived.extend(events)

    async def write(self) -> int:
        version = 0
        while not self.done.is_set():
            for stream in range(STREAMS):
                await self._opened.store.append(Append(f"counter-{stream}", version, (added(),)))
            version += 1
        return version

    async def watch(self) -> None:
        while not self.done.is_set():
            self.moves.append(await self.checkpoint())
            await asyncio.sleep(0.02)

    async def checkpoint(self) -> Move:
        async with self._opened.tables.transaction() as session:
            row = (await session.exec(select(CheckpointRow).where(CheckpointRow.name == self._checkpoint))).first()
        return (row.owner, row.epoch, row.position) if row else ("", 0, 0)

    async def taken_over(self, owner: str, position: int) -> float:
        """Wait until another leads and has moved on; return the seconds that took."""
        began = time.monotonic()
        await until(lambda: self.moves[-1][0] not in ("", owner) and self.moves[-1][2] > position, "the other to take over", 30)
        return time.monotonic() - began

    async def goes_on(self) -> None:
        heard = len(self.arrived)
        await until(lambda: len(self.arrived) > heard + 50, "the new one to go on beside the woken one")

    def judge(self, versions: int) -> None:
        """Fail unless the checkpoint never went back, and each stream arrived whole and in order."""
        positions = [move[2] for move in self.moves]
        assert positions == sorted(positions), "a checkpoint moved back"
        seen: set[uuid.UUID] = set()
        first = [event for event in self.arrived if not (event.id in seen or seen.add(event.id))]
        copies = len(self.arrived) - len(first)
        print(f"{len(first)} events, {copies} copies more, {len(set(self.moves))} places of the checkpoint seen")
        for stream in range(STREAMS):
            assert [e.version for e in first if e.stream == f"counter-{stream}"] == list(range(1, versions + 1))


@pytest.fixture
async def scene(postgres_url: str, rabbitmq_url: str, tmp_path: Path) -> AsyncIterator[_Scene]:
    database = f"{postgres_url}/t{uuid.uuid4().hex[:8]}_{{service}}"
    command = [sys.executable, "-m", "tests.support.relaying", database, rabbitmq_url, str(LEASE)]
    consumer = f"c{uuid.uuid4().hex[:8]}"
    async with System(load_settings(data=tmp_path, database=database), SERVICES) as system:
        opened, bus = await system.open("counting"), RabbitBus(rabbitmq_url, 5, 50)
        subscription = Subscription(consumer, "counting", frozenset({"counter.added"}), 1, 1_000_000)
        await record(opened, subscription)
        await bus.open()
        await bus.declare([subscription])
        scene = _Scene(opened, consumer, command, tmp_path)
        stop = await bus.consume(subscription, scene.handle)
        try:
            yield scene
        finally:
            for relay in scene.relays:
                relay.send_signal(signal.SIGCONT)
                end(relay, signal.SIGKILL)
            await stop()
            await bus.close()


@asynccontextmanager
async def _judged(scene: _Scene) -> AsyncIterator[None]:
    """Write and watch meanwhile; at the end everything written has to arrive."""
    writing, watching = asyncio.create_task(scene.write()), asyncio.create_task(scene.watch())
    try:
        yield
        scene.done.set()
        versions = await writing
        await watching
        await until(lambda: len({event.id for event in scene.arrived}) == versions * STREAMS, "everything", 60)
    finally:
        scene.done.set()
        await asyncio.gather(writing, watching, return_exceptions=True)
    scene.judge(versions)


async def test_a_leader_that_sleeps_past_its_lease_changes_nothing_when_it_wakes_i8_b10(scene: _Scene) -> None:
    async with _judged(scene):
        for _ in range(2):
            scene.spawn()
        await until(lambda: len(scene.arrived) > 50, "the first to lead", 60)
        for _ in range(2):  # each of them once
            owner, epoch, position = await scene.checkpoint()
            os.kill(int(owner), signal.SIGSTOP)
            took = await scene.taken_over(owner, position)
            print(f"took over and moved on after {took:.1f} s with a lease of {LEASE} s")
            assert took < LEASE + 2 + 2  # two seconds more for a machine that is busy with other tests
            os.kill(int(owner), signal.SIGCONT)
            await scene.goes_on()
            assert scene.moves[-1][1] == epoch + 1


async def test_a_leader_asleep_right_behind_the_move_of_its_checkpoint_keeps_nobody_out_i8_b10(scene: _Scene) -> None:
    """At that place a transaction would be open, and the checkpoint locked as long as the process sleeps."""
    async with _judged(scene):
        sleeper = scene.spawn("asleep")
        await until(lambda: _is_stopped(sleeper.pid), "it to fall asleep", 60)
        asleep_at = await scene.checkpoint()
        assert asleep_at[0] == str(sleeper.pid)
        assert asleep_at[2] > 0, "what it had moved is not committed"
        scene.spawn()
        await scene.taken_over(*asleep_at[::2])
        sleeper.send_signal(signal.SIGCONT)
        await scene.goes_on()
        assert scene.moves[-1][1] == asleep_at[1] + 1


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
