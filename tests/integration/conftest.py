from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from sagakit.system import OpenService
from sagakit.temporal.plugin import connect
from tests.support.counted import CountedRow
from tests.support.stores import open_counting


@pytest.fixture(params=["sqlite", "postgres"])
async def counting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenService]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with open_counting(tmp_path, url) as opened:
        yield opened


@pytest.fixture
async def service(counting: OpenService) -> OpenService:
    """The counters, with the read model that the tests of consumers write to."""
    await counting.tables.create([CountedRow])
    return counting


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await connect(temporal_address, "default")
