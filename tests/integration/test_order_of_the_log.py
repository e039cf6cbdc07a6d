"""The global order, model-based: every committed event once, in position order and stream order, whatever the writers do (G2).

The real reader passes 30,000 events for each seed. The same orders and the same checks must convict every planted defect,
each time: a test that cannot fail proves nothing (failures A1 to A7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sagakit.system import OpenService
from tests.support import wrong_readers
from tests.support.log_schedule import scheduled
from tests.support.log_verdict import Verdict
from tests.support.stores import open_counting
from tests.support.wrong_readers import Fetch

SEEDS = (1, 2, 3)
GOOD = Verdict(lost=0, twice=0, never_committed=0, position_inversions=0, stream_inversions=0)
WRONG = {
    "a1 position only": (wrong_readers.PositionOnly, "lost"),
    "a2 horizon filter": (wrong_readers.HorizonFilter, "lost"),
    "a2 snapshot xmax": (wrong_readers.SnapshotXmax, "lost"),
    "a3 xid order": (wrong_readers.XidOrder, "stream_inversions"),
    "a6 two statements": (wrong_readers.TwoStatements, "lost"),
    "a7 skip after a time": (wrong_readers.SkipAfter, "lost"),
}


@pytest.fixture
async def counting(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenService]:
    async with open_counting(tmp_path, postgres_url) as opened:
        yield opened


def _real(counting: OpenService) -> Callable[[Fetch], Any]:
    """The reader of the store, over the scheduler's fetch so that writers go on between its statements."""

    def make(fetch: Fetch) -> Any:
        reader = counting.store.reader(0)
        reader._fetch = fetch
        return reader

    return make


async def _run(seed: int, counting: OpenService, make: Callable[[Fetch], Any], events: int) -> Verdict:
    """Let one reader read along: two of them would see each other's xids, and one would hide another's fault."""
    async with scheduled(seed, counting.store._url) as schedule:
        reader = schedule.watch(make)
        await schedule.run_directed()
        directed = reader.verdict()
        await schedule.run_random(events)
        print(f"seed {seed}: {len(schedule.ledger.committed)} events, {schedule.ledger.counts}")
        print(f"  directed orders {directed}\n  with the random ones {reader.verdict()}")
        return reader.verdict()


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_and_nothing_is_out_of_order_g2(counting: OpenService, seed: int) -> None:
    assert await _run(seed, counting, _real(counting), events=30_000) == GOOD


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", WRONG)
async def test_a_planted_defect_is_caught_every_time(counting: OpenService, seed: int, name: str) -> None:
    make, fault = WRONG[name]
    assert getattr(await _run(seed, counting, make, events=1_500), fault) > 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_table_without_the_xid_before_the_position_is_caught_every_time_a5(counting: OpenService, seed: int) -> None:
    """The planted defect is the table: a writer owns a number while no snapshot shows its transaction."""
    owner = await asyncpg.connect(counting.store._url)
    await owner.execute("alter table events drop column xid")
    await owner.close()
    assert (await _run(seed, counting, _real(counting), events=1_500)).lost > 0
