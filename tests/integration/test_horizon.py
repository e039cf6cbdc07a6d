"""Who holds the readers of a log back is told, in this database and in others of the cluster (failures A8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from sagakit import telemetry
from sagakit.cli import doctor
from sagakit.postgres import horizon
from sagakit.postgres.horizon import HorizonWatch, oldest_writer
from sagakit.sql.read_models import SqlReadModels, postgres_engine
from sagakit.system import OpenService
from tests.support.stores import open_counting


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        yield opened


@asynccontextmanager
async def _session(url: str, name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        connection.terminate()


async def test_a_writer_in_this_database_is_named_a8(counting: OpenService) -> None:
    async with _session(counting.store._url, "the import") as writer:
        await writer.execute("begin; create table t (n int); select 'secret'")
        found = await oldest_writer(counting.tables)
        assert found is not None
        assert found.pid == writer.get_server_pid()
        assert (found.application, found.user, found.state) == ("the import", "saga", "idle in transaction")
        assert found.database in counting.store._url
        assert 0 <= (found.age_seconds or 0) < 30
        assert "secret" not in str(found)


async def test_a_writer_in_another_database_is_named_and_the_oldest_one_a8(counting: OpenService, postgres_url: str) -> None:
    async with _session(f"{postgres_url}/postgres", "elsewhere") as old, _session(counting.store._url, "here") as young:
        await old.execute("begin; select pg_current_xact_id()")
        await young.execute("begin; select pg_current_xact_id()")
        found = await oldest_writer(counting.tables)
        assert found is not None
        assert (found.database, found.application) == ("postgres", "elsewhere")
        await old.execute("rollback")
        found = await oldest_writer(counting.tables)
        assert found is not None
        assert found.application == "here"


async def test_a_read_only_transaction_holds_nobody_a8(counting: OpenService, postgres_url: str) -> None:
    async with _session(f"{postgres_url}/postgres", "a report") as reading:
        await reading.execute("begin isolation level repeatable read; select count(*) from pg_class")
        async with asyncio.timeout(20):  # autovacuum may write for a moment
            while await oldest_writer(counting.tables) is not None:
                await asyncio.sleep(0.05)


async def test_a_prepared_transaction_counts_though_nobody_runs_it_a8(counting: OpenService) -> None:
    async with _session(counting.store._url, "two phases") as session:
        if await session.fetchval("show max_prepared_transactions") == "0":
            pytest.skip("this server allows no prepared transactions")
        await session.execute("begin; select pg_current_xact_id(); prepare transaction 'left behind'")
        try:
            found = await oldest_writer(counting.tables)
            assert found is not None
            assert (found.pid, found.application, found.state) == (None, "left behind", "prepared")
        finally:
            await session.execute("rollback prepared 'left behind'")


async def test_a_role_that_may_not_see_the_age_is_told_so(counting: OpenService, postgres_url: str) -> None:
    async with _session(counting.store._url, "the import") as writer:
        await writer.execute("do $$ begin create role horizon_low login; exception when duplicate_object then null; end $$")
        await writer.execute("begin; select pg_current_xact_id()")
        tables = SqlReadModels(postgres_engine(counting.store._url.replace("://saga", "://horizon_low"), 30))
        found = await oldest_writer(tables)
        await tables.close()
        assert found is not None
        assert found.pid == writer.get_server_pid()
        assert found.age_seconds is None
        assert "grant this role pg_read_all_stats" in str(found)


async def test_doctor_is_alarmed_when_the_writer_is_too_old_a8(
    counting: OpenService, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _session(f"{postgres_url}/postgres", "a [/] migration") as writer:
        await writer.execute("begin; select pg_current_xact_id()")
        part, state, detail = await doctor._horizon(counting)
        assert (part, state) == ("counting horizon", "ok")
        monkeypatch.setattr(horizon, "TOO_OLD_SECONDS", 0.0)
        part, state, detail = await doctor._horizon(counting)
        assert (part, state) == ("counting horizon", "wrong")
        assert "'a [/] migration' of saga in postgres, idle in transaction. End it" in detail
        doctor.print_table("doctor", ("part", "state", "detail"), [(part, state, detail)])


async def test_the_gauge_follows_the_writer_a8(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(telemetry.metrics, "get_meter", provider.get_meter)
    gauge = telemetry.ServiceGauge("sagakit.log.horizon_age", "s", "as declared")
    monkeypatch.setattr(horizon, "horizon_age", lambda: gauge)
    monkeypatch.setattr(horizon, "_LOOK_SECONDS", 0.02)
    watch = HorizonWatch("counting", counting.tables)
    running = asyncio.create_task(watch.run())
    async with _session(counting.store._url, "the import") as writer:
        await writer.execute("begin; select pg_current_xact_id()")
        async with asyncio.timeout(20):
            while (_value(reader) or 0) < 0.1:
                await asyncio.sleep(0.02)
    watch.stop()
    await running
    assert _value(reader) is None, "nothing old is reported once nobody looks"
    provider.shutdown()


def _value(reader: InMemoryMetricReader) -> Any:
    data = reader.get_metrics_data()
    if data is None:
        return None
    metric = json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"][0]
    assert (metric["name"], metric["unit"]) == ("sagakit.log.horizon_age", "s")
    points = metric["data"]["data_points"]
    assert all(point["attributes"] == {"sagakit.service": "counting"} for point in points)
    return points[0]["value"] if points else None
