"""A process that sends commands until it is killed or told to stop, and the parent's side of it.

It notes each command in a file of its own before it sends it, and its outcome after the answer, on the disk. A new process
with the same file first sends again what has no outcome yet, by the same idempotency key.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sagakit.errors import InfrastructureError
from sagakit.repository import Context
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.processes import end_with_parent
from tests.support.tally import SERVICES, Count

# Children are forked from a process that has everything loaded: a kill each second leaves no time for imports.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.chaos_writer"])


@dataclass(frozen=True)
class Job:
    """What a writer does. ``count`` 0 means until the file ``stop`` exists; ``lanes`` commands are in flight at once.

    A writer that is killed has its outcomes on the disk before it goes on; one that only races has no need to wait for that.
    """

    name: str
    folder: Path
    database: str
    seed: int
    tallies: int = 4
    lanes: int = 4
    count: int = 0
    is_killed: bool = True

    @property
    def notes(self) -> Path:
        return self.folder / f"{self.name}.notes"

    @property
    def stop(self) -> Path:
        return self.folder / "stop"


def start(job: Job) -> multiprocessing.process.BaseProcess:
    process = _context.Process(target=_main, args=(job,), daemon=True)
    process.start()
    return process


def _main(job: Job) -> None:
    end_with_parent()
    asyncio.run(_write(job))


async def _write(job: Job) -> None:
    notes = Notes(job.notes)
    async with System(load_settings(data=job.folder, database=job.database), SERVICES) as system:
        await _until_answered(lambda: system.open("tallies"))
        await asyncio.gather(*(_lane(job, system, notes, lane) for lane in range(job.lanes)))


async def _lane(job: Job, system: System, notes: Notes, lane: int) -> None:
    prefix, number = f"{job.name}-{lane}", 0
    while number < job.count or (job.count == 0 and not job.stop.exists()):
        number += 1
        key = f"{prefix}-{number}"
        if key in notes.outcomes:
            continue
        # Drawn from the key, so that a second process sends the same command again.
        draw = random.Random(f"{job.seed} {key}")
        command = Count(tally=f"t{draw.randrange(job.tallies)}", amount=draw.randint(1, 9))
        notes.write(f"sent {key}")
        outcome = await _until_answered(lambda command=command, key=key: system.send(command, Context(key=key)))
        notes.write(f"{outcome.status} {key} {outcome.version}", is_durable=job.is_killed)


async def _until_answered(call: Callable[[], asyncio.Future]) -> object:
    while True:
        try:
            return await call()
        except InfrastructureError:
            await asyncio.sleep(0.05)


def answered(folder: Path) -> int:
    """Count the outcomes that all writers of a folder have noted so far."""
    return sum(line[:4] != "sent" for path in folder.glob("*.notes") for line in path.read_text().splitlines())


class Notes:
    """The file of one writer; only ever appended to."""

    def __init__(self, path: Path) -> None:
        self.sent: set[str] = set()
        self.outcomes: dict[str, tuple[str, int]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            status, key, *version = line.split()
            if status == "sent":
                self.sent.add(key)
            elif version:
                self.outcomes[key] = status, int(version[0])
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, line: str, *, is_durable: bool = False) -> None:
        os.write(self._file, f"{line}\n".encode())
        if is_durable:
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
