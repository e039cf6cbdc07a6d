"""Several processes meet the same fresh databases at the same moment: all of them succeed, and nothing is made twice (G1)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest

from sagakit.settings import load_settings
from sagakit.sql.migrate import newest_revision
from sagakit.system import System
from tests.support.opening import SERVICES, open_all
from tests.support.processes import end_with_parent

ROOT = Path(__file__).resolve().parents[2]
COUNT = 10


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite"
    return f"{request.getfixturevalue('postgres_url')}/f{uuid.uuid4().hex[:8]}_{{service}}"


async def test_eight_tasks_bring_the_databases_of_all_services_up_together_g1(database: str, tmp_path: Path) -> None:
    await asyncio.gather(*(open_all(database, tmp_path) for _ in range(8)))
    if database == "sqlite":
        assert {path.name for path in tmp_path.glob("*.db")} == {"counting.db", "runs.db", "parts.db"}
        return
    for service in ("counting", "runs", "parts"):
        connection = await asyncpg.connect(database.replace("{service}", service))
        rows = await connection.fetch("select version_num from sagakit_schema")
        await connection.close()
        assert [row["version_num"] for row in rows] == [newest_revision()]


async def test_commands_that_come_together_open_one_database_once(database: str, tmp_path: Path) -> None:
    async with System(load_settings(data=tmp_path, database=database), SERVICES) as system:
        opened = await asyncio.gather(*(system.open("counting") for _ in range(8)))
        assert len({id(service) for service in opened}) == 1


def _start(database: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.opening", database, str(folder), str(COUNT)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=end_with_parent,
    )  # fmt: skip


async def test_processes_that_open_and_write_together_all_succeed_g1(database: str, tmp_path: Path) -> None:
    processes = [_start(database, tmp_path) for _ in range(3)]
    answers = await asyncio.gather(*(asyncio.to_thread(process.communicate, None, 60) for process in processes))
    assert [(process.returncode, answer[1]) for process, answer in zip(processes, answers, strict=True)] == [(0, "")] * 3
    async with System(load_settings(data=tmp_path, database=database), SERVICES) as system:
        store = (await system.open("counting")).store
        shared = await store.load("counter-shared")
        assert [event.version for event in shared] == list(range(1, 3 * COUNT + 1))
        for process in processes:
            assert len(await store.load(f"counter-{process.pid}")) == COUNT
        assert await (await system.open("runs")).store.head() >= 3 * COUNT
