"""A process that sleeps in the middle of a transaction: PostgreSQL ends it, and nobody waits for it longer (A8, B10, I8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import StoreUnavailable
from sagakit.leadership import Leader
from sagakit.sql.read_models import SqlReadModels, postgres_engine
from sagakit.system import OpenService
from tests.support.stores import open_counting
from tests.support.waiting import until

_SHOW = text("select current_setting('idle_in_transaction_session_timeout')")


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        yield opened


async def _shown(session: AsyncSession) -> str:
    return str((await (await session.connection()).execute(_SHOW)).scalar_one())


async def test_a_successor_waits_no_longer_than_the_lease_for_a_transaction_that_sleeps_b10_i8(counting: OpenService) -> None:
    old, new = Leader(counting.tables, "relay", "old", 1), Leader(counting.tables, "relay", "new", 30)
    assert await old.take()

    async def sleep_inside() -> None:
        async with old.transaction() as session:
            await old.advance_within(session, 3)
            await until(new.take, "the other to take over", 1 + 2)

    with pytest.raises(StoreUnavailable):
        await sleep_inside()
    assert new.position == 0
    await new.advance(5)
    assert await _position(counting.tables) == 5


async def test_a_leader_awake_writes_in_a_transaction_longer_than_its_lease(counting: OpenService) -> None:
    leader = Leader(counting.tables, "relay", "slow", 0.3)
    assert await leader.take()
    async with leader.transaction() as session:
        await leader.advance_within(session, 3)
        await (await session.connection()).execute(text("select pg_sleep(0.6)"))  # the server is at work, and waits for nobody
    assert await _position(counting.tables) == 3


async def test_every_transaction_is_bounded_and_its_end_is_an_unavailable_store_a8(counting: OpenService) -> None:
    tables = SqlReadModels(postgres_engine(counting.store._url, 0.2))

    async def sleep_inside() -> None:
        async with tables.transaction() as session:
            pid = (await (await session.connection()).execute(text("select pg_backend_pid()"))).scalar_one()
            await until(lambda: _is_gone(counting.tables, pid), "the server to end it")
            await (await session.connection()).execute(text("select 1"))

    try:
        with pytest.raises(StoreUnavailable, match="SAGAKIT_IDLE_TRANSACTION_SECONDS"):
            await sleep_inside()
        async with tables.transaction() as session:
            assert await _shown(session) == "200ms"
    finally:
        await tables.close()


async def test_the_settings_bound_is_on_every_connection(counting: OpenService) -> None:
    async with counting.tables.transaction() as one, counting.tables.transaction() as two:
        assert [await _shown(one), await _shown(two)] == ["30s", "30s"]
    async with counting.tables.autocommit() as session:
        assert await _shown(session) == "30s"


async def test_a_leaders_bound_ends_with_its_transaction_and_a_shorter_one_stays(counting: OpenService) -> None:
    leader = Leader(counting.tables, "relay", "one", 7)
    async with leader.transaction() as session:
        assert await _shown(session) == "7s"
    busy = Leader(counting.tables, "relay", "one", 0.01)
    async with busy.transaction() as session:
        assert await _shown(session) == "1s"
    async with counting.tables.transaction() as session:
        assert await _shown(session) == "30s"
    longer = Leader(counting.tables, "relay", "one", 90)
    async with longer.transaction() as session:
        assert await _shown(session) == "30s"


async def test_a_statement_by_itself_is_committed_when_it_returns(counting: OpenService) -> None:
    assert await Leader(counting.tables, "relay", "one", 30).take()
    async with counting.tables.autocommit() as session:
        await (await session.connection()).execute(text("update sagakit_checkpoints set position = 4"))
        assert await _position(counting.tables) == 4


async def _position(tables: SqlReadModels) -> int:
    async with tables.transaction() as session:
        found = await (await session.connection()).execute(text("select position from sagakit_checkpoints where name = 'relay'"))
        return int(found.scalar_one())


async def _is_gone(tables: SqlReadModels, pid: int) -> bool:
    async with tables.transaction() as session:
        found = await (await session.connection()).execute(text("select 1 from pg_stat_activity where pid = :pid"), {"pid": pid})
        return found.first() is None
