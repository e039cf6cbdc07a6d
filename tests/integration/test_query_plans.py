"""The hot queries of the log use their indexes on a filled table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sagakit.outcome import CommandOutcome
from sagakit.ports import Append
from sagakit.postgres import statements
from sagakit.system import OpenService
from tests.support.shop import added
from tests.support.stores import open_counting

FILL = """insert into events (stream, version, id, type, schema_version, data, metadata)
          select 'counter-' || (n - 1) / 100, (n - 1) % 100 + 1, gen_random_uuid(), 'counter.added', 1, '{{"amount": 1}}',
                 json_build_object('correlation_id', 'c' || n / 10)
          from generate_series(1, {count}) n order by n % 100"""


@pytest.fixture(params=[50_000])
async def counting(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        connection = await asyncpg.connect(opened.store._url)
        await connection.execute(FILL.format(count=request.param))
        await connection.execute(
            "insert into commands (key, outcome) select 'old-' || n, '{}' from generate_series(1, $1::int) n", request.param
        )
        await connection.execute("analyze events, commands")
        await connection.close()
        yield opened


async def _indexes(counting: OpenService, query: str, *args: object) -> set[str]:
    """Explain a query with its values; return the indexes that it reads by, after checking that it reads no table whole."""
    connection = await asyncpg.connect(counting.store._url)
    try:
        plan = json.loads(await connection.fetchval(f"explain (format json) {query}", *args))[0]["Plan"]
    finally:
        await connection.close()
    nodes = list(_nodes(plan))
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], plan
    assert not [node for node in nodes if node["Node Type"] == "Sort" and node["Plan Rows"] > 1000], plan
    return {node["Index Name"] for node in nodes if "Index Name" in node}


def _nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@pytest.mark.parametrize("after", [0, 25_000, 49_990])
async def test_a_page_of_the_reader_walks_the_positions(counting: OpenService, after: int) -> None:
    assert await _indexes(counting, counting.store.reader(0)._query, after, 200) == {"events_pkey"}


@pytest.mark.parametrize("after_version", [0, 90])
async def test_a_load_walks_one_stream(counting: OpenService, after_version: int) -> None:
    assert await _indexes(counting, statements.LOAD, "counter-7", after_version) == {"events_stream_version"}


async def test_a_correlation_is_looked_up(counting: OpenService) -> None:
    query = "select position from events where metadata ->> 'correlation_id' = $1 order by position"
    assert await _indexes(counting, query, "c77") == {"events_correlation"}


def _appends(number: int) -> list[Append]:
    done = CommandOutcome(status="done", stream="counter-7")
    return [Append(f"counter-{n}", 100 * (n % 2), (added(),), f"key-{n}", done) for n in range(number)]


# On a middle-sized table a plan that reads it whole once looks cheaper than a hundred look-ups.
@pytest.mark.parametrize("counting", [20_000], indirect=True)
@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize("members", [2, 32, 128])
async def test_a_group_of_appends_looks_each_member_up(counting: OpenService, members: int, *, is_chained: bool) -> None:
    counting.store._appending._is_chained = is_chained
    query, *values = counting.store._appending._group_statement(_appends(members))
    assert {"events_stream_version", "commands_key"} <= await _indexes(counting, query, *values)


@pytest.mark.parametrize("counting", [20_000], indirect=True)
@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize("events", [1, 5])
async def test_an_append_alone_looks_the_version_before_up(counting: OpenService, events: int, *, is_chained: bool) -> None:
    counting.store._appending._is_chained = is_chained
    append = Append("counter-7", 100, tuple(added() for _ in range(events)), "key", CommandOutcome(status="done", stream="c"))
    query, *values = counting.store._appending._statement(append)
    assert await _indexes(counting, query, *values) == {"events_stream_version"}
