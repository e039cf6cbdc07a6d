"""`doctor` only looks: on both databases it makes no database, no table, no folder."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from sagakit.repository import Context
from sagakit.settings import load_settings
from sagakit.system import System
from sagakit.temporal.free_port import free_port
from tests.support.command_line import run_command
from tests.support.shop import SERVICES, Add

NOTHING_YET = "no database yet: the first start or send makes it"


@pytest.fixture
def no_temporal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")


def _state(folder: Path) -> dict[str, str]:
    code, output = run_command(SERVICES, "--data", str(folder), "doctor", "--json")
    checks = {check["part"]: check for check in json.loads(output)}
    assert code == 1  # no Temporal server runs
    return checks["counting"]


async def _send(database: str, folder: Path) -> None:
    async with System(load_settings(data=folder, database=database), SERVICES) as system:
        await system.send(Add(counter="a", amount=1), Context())


async def _database(url: str, action: str) -> None:
    connection = await asyncpg.connect(f"{url}/postgres")
    await connection.execute(action)
    await connection.close()


async def _in_thread(work: Callable[[], dict[str, str]]) -> dict[str, str]:
    return await asyncio.to_thread(work)


@pytest.mark.usefixtures("no_temporal")
async def test_on_sqlite(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    state = await _in_thread(lambda: _state(folder))
    assert (state["state"], state["detail"]) == ("ok", NOTHING_YET)
    assert not folder.exists()
    folder.mkdir()
    (folder / "counting.db").touch()
    assert (await _in_thread(lambda: _state(folder)))["detail"] == NOTHING_YET
    assert [path.name for path in folder.iterdir()] == ["counting.db"]
    assert (folder / "counting.db").stat().st_size == 0
    await _send("sqlite", folder)
    assert (await _in_thread(lambda: _state(folder)))["detail"] == "1 positions, all read"
    (folder / "counting.db").write_bytes(b"this is a letter, and no database" * 100)
    state = await _in_thread(lambda: _state(folder))
    assert state["state"] == "wrong"
    assert "cannot be read" in state["detail"]


@pytest.mark.usefixtures("no_temporal")
async def test_on_postgres(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"d{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("SAGAKIT_DATABASE", f"{postgres_url}/{name}_{{service}}")
    state = await _in_thread(lambda: _state(tmp_path))
    assert (state["state"], state["detail"]) == ("ok", NOTHING_YET)
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(f"{postgres_url}/{name}_counting")
    await _database(postgres_url, f"create database {name}_counting")
    assert (await _in_thread(lambda: _state(tmp_path)))["detail"] == NOTHING_YET
    connection = await asyncpg.connect(f"{postgres_url}/{name}_counting")
    assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    await _send(f"{postgres_url}/{name}_{{service}}", tmp_path)
    assert (await _in_thread(lambda: _state(tmp_path)))["detail"] == "1 positions, all read"
    await connection.execute("update sagakit_schema set version_num = '0000'")
    state = await _in_thread(lambda: _state(tmp_path))
    assert state["state"] == "wrong"
    assert "is at schema 0000, this version needs" in state["detail"]
    assert await connection.fetchval("select version_num from sagakit_schema") == "0000"
    await connection.close()


@pytest.mark.usefixtures("no_temporal")
async def test_a_server_that_is_away_is_wrong_and_not_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAKIT_DATABASE", f"postgresql://saga:hidden@127.0.0.1:{free_port()}/{{service}}")
    state = await _in_thread(lambda: _state(tmp_path))
    assert state["state"] == "wrong"
    assert "hidden" not in state["detail"]
