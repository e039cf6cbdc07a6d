"""The reader on PostgreSQL: nothing is skipped, whatever the order of commits (G2; failures A1, A2, A5, A7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sagakit.ports import Append
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.stores import open_counting

INSERT = """insert into events (stream, version, id, type, schema_version, data, metadata)
            values ($1, 1, gen_random_uuid(), 'counter.added', 1, '{"amount": 1}', '{"correlation_id": "c"}')"""


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        yield opened


async def _connect(counting: OpenService) -> asyncpg.Connection:
    return await asyncpg.connect(counting.store._url)


async def test_a_commit_out_of_order_is_waited_for_g2(counting: OpenService) -> None:
    slow = await _connect(counting)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    for _ in range(5):
        assert await reader.read(10) == [], "the hole may still be filled"
    await transaction.commit()
    read = await reader.read(10)
    assert [event.stream for event in read] == ["counter-slow", "counter-fast"]
    await slow.close()


async def test_a_rolled_back_number_is_passed_once_it_is_proven_dead_g2(counting: OpenService) -> None:
    slow = await _connect(counting)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    assert await reader.read(10) == []
    await transaction.rollback()
    assert [event.stream for event in await reader.read(10)] == ["counter-fast"]
    await slow.close()


async def test_an_old_transaction_with_a_high_number_is_not_lost_a2(counting: OpenService) -> None:
    """A horizon filter over a position checkpoint loses this one: its xid is older, its position higher."""
    early = await _connect(counting)
    transaction = early.transaction()
    await transaction.start()
    await early.fetchval("select pg_current_xact_id()")
    await counting.store.append(Append("counter-a", 0, (added(),)))
    await early.execute(INSERT, "counter-early")
    reader = counting.store.reader(0)
    assert [event.stream for event in await reader.read(10)] == ["counter-a"]
    await counting.store.append(Append("counter-b", 0, (added(),)))
    assert await reader.read(10) == []
    await transaction.commit()
    assert [event.stream for event in await reader.read(10)] == ["counter-early", "counter-b"]
    await early.close()


async def test_a_transaction_is_seen_before_it_owns_a_number_a5(counting: OpenService) -> None:
    """Without the xid column before the position, a writer stalled between number and commit would be invisible."""
    slow = await _connect(counting)
    await slow.execute("""create function stall() returns trigger language plpgsql as
        $$ begin perform pg_advisory_lock_shared(77); return new; end $$""")
    await slow.execute(
        "create trigger stall before insert on events for each row when (new.stream = 'counter-slow') execute function stall()"
    )
    gate = await _connect(counting)
    await gate.execute("select pg_advisory_lock(77)")
    stalled = asyncio.create_task(slow.execute(INSERT, "counter-slow"))
    async with asyncio.timeout(20):
        while not await gate.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and wait_event = 'advisory'"
        ):
            await asyncio.sleep(0.01)
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    for _ in range(5):
        assert await reader.read(10) == []
    await gate.execute("select pg_advisory_unlock(77)")
    await stalled
    assert [event.stream for event in await reader.read(10)] == ["counter-slow", "counter-fast"]
    await slow.close()
    await gate.close()
