"""The hot queries of the log use their indexes on a filled table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sagakit.postgres import statements
from sagakit.system import OpenService
from tests.support.stores import open_counting

FILL = """insert into events (stream, version, id, type, schema_version, data, metadata)
          select 'counter-' || n / 100, n % 100 + 1, gen_random_uuid(), 'counter.added', 1, '{"amount": 1}',
                 json_build_object('correlation_id', 'c' || n / 10)
          from generate_series(0, 49999) n order by n % 100"""


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        connection = await asyncpg.connect(opened.store._url)
        await connection.execute(FILL)
        await connection.execute("analyze events")
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
