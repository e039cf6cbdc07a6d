"""From one consumer process to four, and one of them killed: the order of each stream is kept, each effect is there once (G3, G5)."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlmodel import col, select

from sagakit.rabbitmq.bus import RabbitBus
from sagakit.repartition import partitioned
from sagakit.settings import load_settings
from sagakit.system import OpenService, System
from tests.support import noting, workers
from tests.support.bus_load import Sender, sending
from tests.support.noting import NoteRow
from tests.support.waiting import until

STREAMS = 40


class Fleet:
    """The consumer processes of one service, whose queues are its own on a broker that others use too."""

    def __init__(self, folder: Path, postgres_url: str, rabbitmq_url: str) -> None:
        run = uuid.uuid4().hex[:8]
        self._folder, self.service = folder, f"noting{run}"
        self._make_services = partial(noting.services, self.service)
        self.services = self._make_services()
        (declared,) = self.services.subscriptions()
        self.settings = {
            "database": f"{postgres_url}/t{run}_{{service}}",
            "bus": rabbitmq_url,
            "data": folder,
            "partitions": {declared.consumer: noting.PARTITIONS},
            "prefetch": 20,
        }
        self.processes: list[BaseProcess] = []

    def start(self) -> None:
        name = f"noting-{len(self.processes)}"
        job = workers.Job(name, self._make_services, self.settings, ("consumers",), self._folder, (self.service,))
        self.processes.append(workers.start(job))

    def kill(self) -> None:
        pid = self.processes[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()


@pytest.fixture
def fleet(tmp_path: Path, postgres_url: str, rabbitmq_url: str) -> Iterator[Fleet]:
    processes = Fleet(tmp_path, postgres_url, rabbitmq_url)
    yield processes
    processes.end()


async def test_from_one_process_to_four_and_back_to_three_g3_g5(fleet: Fleet) -> None:
    settings = load_settings(**fleet.settings)
    (subscription,) = partitioned(fleet.services.subscriptions(), settings.partitions)
    bus = RabbitBus(settings.bus, 5, 50)
    try:
        await bus.declare([subscription])
        async with System(settings, fleet.services) as system:
            noted = await system.open(fleet.service)
            async with sending(Sender(bus, subscription, STREAMS, batch=20)) as sender:
                fleet.start()
                await until(lambda: _is_handled_by(noted, 1), "the first process to handle events", 30)
                for _ in range(3):
                    fleet.start()
                await until(lambda: _is_handled_by(noted, 4), "each process to have its share of the queues", 40)
                fleet.kill()
                await sender.goes_on(400)
            confirmed = {(event.stream, event.version) for event in sender.confirmed}
            await until(lambda: _holds(noted, len(confirmed)), "every event to take effect", 60)
            rows = await _rows(noted)
        found = [(row.stream, row.version) for row in rows]
        assert set(found) == confirmed
        assert len(found) == len(confirmed), "an effect is there twice"
        for stream in {row.stream for row in rows}:
            versions = [row.version for row in rows if row.stream == stream]
            assert versions == sorted(versions), f"{stream} is out of order"
        shares = [sum(row.process == process.pid for row in rows) for process in fleet.processes]
        print(f"{len(rows)} events, handled by the processes {shares}")
    finally:
        await bus.close()


async def _rows(noted: OpenService) -> list[NoteRow]:
    async with noted.tables.transaction() as session:
        return list((await session.exec(select(NoteRow).order_by(col(NoteRow.number)))).all())


async def _is_handled_by(noted: OpenService, processes: int) -> bool:
    return len({row.process for row in await _rows(noted)}) >= processes


async def _holds(noted: OpenService, events: int) -> bool:
    return len(await _rows(noted)) >= events
