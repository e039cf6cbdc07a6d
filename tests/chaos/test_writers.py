"""Many writers on one log, killed and racing: an acknowledged command is there once, a refused one is not (G1, G9; A16, A20)."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from pathlib import Path

import pytest

from sagakit.errors import ConcurrencyError
from sagakit.ports import Append
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support import chaos_verdict, chaos_writer
from tests.support.chaos_writer import Job
from tests.support.shop import SERVICES, added


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite"
    return f"{request.getfixturevalue('postgres_url')}/t{uuid.uuid4().hex[:8]}_{{service}}"


async def test_twenty_writers_with_stores_of_their_own_on_one_stream_a16(tmp_path: Path, database: str) -> None:
    conflicts = 0

    async def write(system: System) -> None:
        nonlocal conflicts
        async with system:
            store, written, seen = (await system.open("counting")).store, 0, 0
            while written < 10:
                try:
                    await store.append(Append("counter-a", seen, (added(),)))
                except ConcurrencyError:
                    conflicts += 1
                    seen = (await store.load("counter-a"))[-1].version
                else:
                    written, seen = written + 1, seen + 1

    settings = load_settings(data=tmp_path, database=database)
    async with System(settings, SERVICES) as system:
        store = (await system.open("counting")).store
        await asyncio.gather(*(write(System(settings, SERVICES)) for _ in range(20)))
        assert [event.version for event in await store.load("counter-a")] == list(range(1, 201))
    print(f"{conflicts} conflicts")
    assert conflicts > 0


async def test_eight_processes_on_one_file_killed_every_second_a20(tmp_path: Path) -> None:
    seed, seconds, enough = 20, 15, 200
    print(f"seed {seed}")
    chance, kills = random.Random(seed), 0
    writers = [Victim(Job(f"w{number}", tmp_path, "sqlite", seed), chance) for number in range(8)]
    until = time.monotonic() + seconds
    while time.monotonic() < until or chaos_writer.answered(tmp_path) < enough:
        for writer in writers:
            kills += writer.kill_if_due()
        await asyncio.sleep(0.05)
    writers[0].job.stop.touch()
    for writer in writers:
        await asyncio.to_thread(writer.process.join, 60)
        assert writer.process.exitcode == 0
    fates = await chaos_verdict.check(tmp_path, "sqlite")
    print(f"{kills} kills, {dict(fates)}")
    assert kills >= 8 * 3
    assert fates["done"] > 0
    assert fates["refused"] > 0


class Victim:
    """A writer that is killed about a second after it began to write, or now and then while it still opens its store."""

    def __init__(self, job: Job, chance: random.Random) -> None:
        self.job, self._chance = job, chance
        self._start()

    def _start(self) -> None:
        self._noted = self._size()
        self.process = chaos_writer.start(self.job)
        self._seconds = self._chance.uniform(0.6, 1.4)
        self._kill_at = time.monotonic() + self._seconds if self._chance.random() < 0.2 else None

    def _size(self) -> int:
        return self.job.notes.stat().st_size if self.job.notes.exists() else 0

    def kill_if_due(self) -> bool:
        assert self.process.exitcode is None, f"{self.job.name} ended by itself"
        if self._kill_at is None and self._size() > self._noted:
            self._kill_at = time.monotonic() + self._seconds
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return False
        self.process.kill()
        self.process.join(10)
        self._start()
        return True


@pytest.mark.timeout(200)
async def test_two_processes_race_on_one_hot_aggregate(tmp_path: Path, database: str) -> None:
    """What a process remembers of the aggregate must never be what it decides on, once the other has moved it."""
    jobs = [Job(f"w{number}", tmp_path, database, seed=7, tallies=1, lanes=8, count=625, is_killed=False) for number in range(2)]
    began = time.monotonic()
    writers = [chaos_writer.start(job) for job in jobs]
    for process in writers:
        await asyncio.to_thread(process.join, 180)
        assert process.exitcode == 0
    fates = await chaos_verdict.check(tmp_path, database)
    print(f"10,000 commands in {time.monotonic() - began:.1f} s: {dict(fates)}")
    assert fates.total() == 10_000
    assert fates["unknown"] == 0
