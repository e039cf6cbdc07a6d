"""Reading to the head waits at a hole, which an empty page may be (G2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sagakit.errors import StoreUnavailable
from sagakit.log import read_to_head
from sagakit.ports import Append, EventStore
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.stores import open_counting

INSERT = """insert into events (stream, version, id, type, schema_version, data, metadata)
            values ($1, 1, gen_random_uuid(), 'counter.added', 1, '{"amount": 1}', '{"correlation_id": "c"}')"""


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        yield opened


async def _streams(store: EventStore, **kwargs: float) -> list[str]:
    return [event.stream async for event in read_to_head(store, **kwargs)]


async def test_a_transaction_that_commits_later_is_waited_for(counting: OpenService) -> None:
    slow = await asyncpg.connect(counting.store._url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reading = asyncio.create_task(_streams(counting.store))
    done, _ = await asyncio.wait([reading], timeout=0.5)
    assert not done, "the hole may still be filled"
    await transaction.commit()
    assert await reading == ["counter-slow", "counter-fast"]
    await slow.close()


async def test_one_that_stays_open_is_named(counting: OpenService) -> None:
    slow = await asyncpg.connect(counting.store._url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    with pytest.raises(StoreUnavailable, match="service counting: an open transaction holds the log at position 0"):
        await _streams(counting.store, patience_seconds=0.3)
    await transaction.rollback()
    assert await _streams(counting.store) == ["counter-fast"]
    await slow.close()


async def test_it_begins_behind_a_position_and_ends_at_the_head(tmp_path: Path) -> None:
    async with open_counting(tmp_path, None) as counting:
        assert await _streams(counting.store) == []
        for name in "abc":
            await counting.store.append(Append(f"counter-{name}", 0, (added(),)))
        assert await _streams(counting.store, after=1) == ["counter-b", "counter-c"]
        assert await _streams(counting.store, after=9) == []
