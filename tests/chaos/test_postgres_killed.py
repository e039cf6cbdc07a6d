"""PostgreSQL is killed -9 under load: what it acknowledged is there once, and writers resume by themselves (G1, G9; A18)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
from sqlalchemy import text

from sagakit.errors import StoreUnavailable
from sagakit.sql.read_models import SqlReadModels, postgres_engine
from tests.support import chaos_verdict, chaos_writer, servers
from tests.support.chaos_writer import Job

ROUNDS, ANSWERS_PER_ROUND = 4, 150


async def test_postgres_killed_under_load_a18(own_postgres: servers.PostgresServer, tmp_path: Path) -> None:
    connection = await asyncpg.connect(f"{own_postgres.url}/postgres")
    assert await connection.fetchval("show fsync") == "on", "without it this test shows nothing"
    assert await connection.fetchval("show synchronous_commit") == "on"
    await connection.close()
    database = f"{own_postgres.url}/{{service}}"
    writers = [chaos_writer.start(Job(f"w{number}", tmp_path, database, seed=18)) for number in range(4)]
    try:
        for _ in range(ROUNDS):
            await _answers(tmp_path, ANSWERS_PER_ROUND)
            own_postgres.kill()
            own_postgres.start()
        await _answers(tmp_path, ANSWERS_PER_ROUND)
        assert [process.exitcode for process in writers] == [None] * 4, "a writer did not outlive its server"
    finally:
        (tmp_path / "stop").touch()
        for process in writers:
            await asyncio.to_thread(process.join, 60)
    assert [process.exitcode for process in writers] == [0] * 4
    fates = await chaos_verdict.check(tmp_path, database)
    print(f"{ROUNDS} kills, {dict(fates)}")
    assert fates["unknown"] == 0, "every writer asked until it had its answer"
    assert fates["done"] > 0
    assert fates["refused"] > 0


async def _answers(folder: Path, more: int) -> None:
    """Wait until the writers have so many more answers: they resume without anybody's help."""
    before = chaos_writer.answered(folder)
    async with asyncio.timeout(90):
        while chaos_writer.answered(folder) < before + more:
            await asyncio.sleep(0.05)


async def test_read_models_name_a_server_that_comes_up_as_away_a18(own_postgres: servers.PostgresServer) -> None:
    """While it starts it lets nobody in; to the driver that is an error like any other, and no lost link."""
    tables = SqlReadModels(postgres_engine(f"{own_postgres.url}/postgres", 30))
    await _ask(tables)
    own_postgres.kill()
    starting = asyncio.create_task(asyncio.to_thread(own_postgres.start))
    failures: list[StoreUnavailable] = []
    while not starting.done():
        try:
            await _ask(tables)
        except StoreUnavailable as error:
            failures.append(error)
    await starting
    await _ask(tables)
    await tables.close()
    assert failures, "the server was not away"


async def _ask(tables: SqlReadModels) -> None:
    async with tables.transaction() as session:
        await (await session.connection()).execute(text("select 1"))
