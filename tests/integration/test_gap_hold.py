"""The reader on PostgreSQL: nothing is skipped, whatever the order of commits (G2; failures A1 to A8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sagakit.errors import StoreUnavailable
from sagakit.ports import Append, LogReader
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


async def test_a_commit_out_of_order_is_waited_for_a1_g2(counting: OpenService) -> None:
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


async def test_a_rolled_back_number_is_passed_once_it_is_proven_dead_a4_g2(counting: OpenService) -> None:
    slow = await _connect(counting)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    assert await reader.read(10) == []
    await transaction.rollback()
    await _until_read(reader, ["counter-fast"])
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


async def test_a_lower_number_whose_xid_stands_above_all_completed_ones_is_waited_for_a4(counting: OpenService) -> None:
    """The snapshot's xmax is one past the highest *completed* xid, so this writer stands at it: xmax proves nothing."""
    early, late = await _connect(counting), await _connect(counting)
    await early.execute("begin; select pg_current_xact_id()")
    await late.execute("begin")
    await late.execute(INSERT, "counter-late")
    await early.execute(INSERT, "counter-early")
    await early.execute("commit")
    reader = counting.store.reader(0)
    for _ in range(5):
        assert await reader.read(10) == []
    await late.execute("commit")
    assert [event.stream for event in await reader.read(10)] == ["counter-late", "counter-early"]
    await early.close()
    await late.close()


async def test_an_old_transaction_that_writes_the_later_version_keeps_stream_order_a3(counting: OpenService) -> None:
    early = await _connect(counting)
    await early.execute("begin; select pg_current_xact_id()")
    await counting.store.append(Append("counter-a", 0, (added(),)))
    await early.execute(INSERT.replace("$1, 1,", "$1, 2,"), "counter-a")
    await early.execute("commit")
    assert [event.version for event in await counting.store.reader(0).read(10)] == [1, 2]
    await early.close()


async def test_a_commit_between_two_statements_of_a_read_changes_nothing_a6(counting: OpenService) -> None:
    slow = await _connect(counting)
    await slow.execute("begin")
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    fetch, statements = reader._fetch, 0

    async def with_a_pause(query: str, *args: object) -> list[object]:
        nonlocal statements
        statements += 1
        if statements == 2:  # behind the page with the hole, before the bound is drawn
            await slow.execute("commit")
            for number in range(20):
                await counting.store.append(Append(f"counter-storm{number}", 0, (added(),)))
        return await fetch(query, *args)

    reader._fetch = with_a_pause
    assert await reader.read(10) == []
    assert statements == 2
    read = [event.stream for event in await reader.read(50)]
    assert read == ["counter-slow", "counter-fast", *(f"counter-storm{number}" for number in range(20))]
    await slow.close()


async def test_a_hole_is_never_passed_by_time_a7(counting: OpenService) -> None:
    slow = await _connect(counting)
    await slow.execute("begin")
    await slow.execute(INSERT, "counter-slow")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader, until = counting.store.reader(0), asyncio.get_running_loop().time() + 2
    while asyncio.get_running_loop().time() < until:
        assert await reader.read(10) == []
    await slow.execute("commit")
    assert [event.stream for event in await reader.read(10)] == ["counter-slow", "counter-fast"]
    await slow.close()


@pytest.mark.parametrize(
    ("statement", "is_held"), [("select pg_current_xact_id()", True), ("select count(*) from pg_class", False)]
)
async def test_a_writer_in_another_database_holds_a_hole_and_a_read_only_one_does_not_a8(
    counting: OpenService, postgres_url: str, statement: str, *, is_held: bool
) -> None:
    elsewhere, slow = await asyncpg.connect(f"{postgres_url}/postgres"), await _connect(counting)
    await elsewhere.execute(f"begin isolation level repeatable read; {statement}")
    await slow.execute("begin")
    await slow.execute(INSERT, "counter-rolled-back")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    assert await reader.read(10) == []
    await slow.execute("rollback")
    if is_held:
        for _ in range(5):
            assert await reader.read(10) == [], "nothing is lost meanwhile, it is late"
        await elsewhere.execute("rollback")
    await _until_read(reader, ["counter-fast"])
    await elsewhere.close()
    await slow.close()


async def test_a_bound_that_a_crashed_server_forgot_is_drawn_again(counting: OpenService) -> None:
    """The same xid will be given out again, and on an idle server nobody would ever come to do it."""
    slow = await _connect(counting)
    await slow.execute("begin")
    await slow.execute(INSERT, "counter-rolled-back")
    await counting.store.append(Append("counter-fast", 0, (added(),)))
    reader = counting.store.reader(0)
    assert await reader.read(10) == []
    await slow.execute("rollback")
    reader._bound += 1_000_000
    await _until_read(reader, ["counter-fast"])
    await slow.close()


async def test_a_page_whose_bound_cannot_be_drawn_is_read_again(counting: OpenService) -> None:
    await counting.store.append(Append("counter-a", 0, (added(),)))
    slow = await _connect(counting)
    await slow.execute("begin")
    await slow.execute(INSERT, "counter-rolled-back")
    await slow.execute("rollback")
    await counting.store.append(Append("counter-b", 0, (added(),)))
    reader = counting.store.reader(0)
    fetch = reader._fetch

    async def away(query: str, *args: object) -> list[object]:
        if "bound" in query:
            raise StoreUnavailable("the server went away")
        return await fetch(query, *args)

    reader._fetch = away
    with pytest.raises(StoreUnavailable):
        await reader.read(10)
    reader._fetch = fetch
    await _until_read(reader, ["counter-a", "counter-b"])
    await slow.close()


async def _until_read(reader: LogReader, streams: list[str]) -> None:
    """Read until that is there: another test's writer, or autovacuum, may hold the horizon for a moment."""
    read: list[str] = []
    async with asyncio.timeout(20):
        while len(read) < len(streams):
            read += [event.stream for event in await reader.read(10)]
    assert read == streams


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
