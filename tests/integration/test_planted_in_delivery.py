"""Delivery under every known fault, and the planted defects that the same story must convict each time (G3, failures B, C)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sagakit.leadership import Leader
from sagakit.ports import ReadModels
from sagakit.system import OpenService
from tests.support import wrong_couriers
from tests.support.couriers import CourierBus
from tests.support.delivery_scenario import SUBSCRIPTION, Parts, Story, Verdict
from tests.support.stores import open_counting

SEEDS = (1, 2, 3)


def _feed(kind: type[wrong_couriers.SmallFeed]) -> Parts:
    def make(counting: OpenService, tables: ReadModels, leader: Leader, bus: CourierBus) -> Any:
        return kind(SUBSCRIPTION, counting.store, tables, leader, bus)

    return Parts(feed=make)


WRONG = {
    "mark before confirm": (_feed(wrong_couriers.MarkBeforeConfirm), "lost"),
    "no fence": (_feed(wrong_couriers.NoFence), "checkpoints_moved_back"),
    "skip locked": (_feed(wrong_couriers.SkipLocked), "out_of_order"),
    "no return check": (Parts(bus=wrong_couriers.NoReturnCheck), "lost"),
    "cancelled error swallowed": (Parts(bus=wrong_couriers.CancelSwallowed), "lost"),
    "ack before commit": (Parts(bus=wrong_couriers.AckBeforeCommit), "lost"),
    "no inbox": (Parts(consumer=wrong_couriers.NoInbox), "double_effects"),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feed that stands by looks at the lease more often than it need in production."""
    monkeypatch.setattr("sagakit.feed._STANDBY_SECONDS", 0.05)


async def _runs(url: str, folder: Path, parts: Parts) -> list[Verdict]:
    """Run every seed, side by side on databases of their own."""

    async def run(seed: int) -> Verdict:
        async with open_counting(folder, url) as counting:
            verdict = await Story(counting, parts, seed).run()
            print(f"seed {seed}: {verdict}")
            return verdict

    return await asyncio.gather(*(run(seed) for seed in SEEDS))


@pytest.mark.parametrize("name", ["the right code", "the small feed"])
async def test_nothing_is_lost_doubled_or_out_of_order_g3(postgres_url: str, tmp_path: Path, name: str) -> None:
    """The small feed has no defect: what its heirs are convicted of is theirs."""
    for verdict in await _runs(postgres_url, tmp_path, Parts() if name == "the right code" else _feed(wrong_couriers.SmallFeed)):
        assert verdict.duplicates_delivered > 0
        assert verdict == Verdict(0, 0, 0, 0, verdict.duplicates_delivered)


@pytest.mark.parametrize("name", WRONG)
async def test_a_planted_defect_is_caught_every_time(postgres_url: str, tmp_path: Path, name: str) -> None:
    parts, fault = WRONG[name]
    assert all(getattr(verdict, fault) > 0 for verdict in await _runs(postgres_url, tmp_path, parts))
