"""Outcomes of commands are forgotten after their time, in small batches, and never while a retry may still come (G1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sagakit.errors import WrongSettings
from sagakit.repository import Context
from sagakit.retention import Retention
from sagakit.settings import load_settings
from sagakit.system import OpenService
from tests.support.shop import Add, Counter


async def test_only_what_is_over_its_time_is_forgotten_g1(counting: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagakit.retention._BATCH", 3)
    monkeypatch.setattr("sagakit.retention._BREATH_SECONDS", 0.001)
    batches: list[int] = []
    forget = counting.store.forget_outcomes

    async def counted(before: datetime, limit: int) -> int:
        batches.append(await forget(before, limit))
        return batches[-1]

    monkeypatch.setattr(counting.store, "forget_outcomes", counted)
    for n in range(8):
        await counting.repository.handle(Counter, Add(counter=f"c{n}", amount=1), Context(key=f"k{n}"))
    retention = Retention.of_outcomes(counting.store, 1)
    assert await retention.forget() == 0
    assert await counting.store.outcome("k7") is not None
    assert await retention.forget(datetime.now(UTC) + timedelta(hours=2)) == 8
    assert batches == [0, 3, 3, 2]
    assert await counting.store.outcome("k7") is None
    assert len(await counting.store.load("counter-c7")) == 1, "events are never removed"


def test_a_retention_below_the_longest_retry_is_refused_at_start() -> None:
    with pytest.raises(WrongSettings, match="SAGAKIT_COMMAND_RETENTION_HOURS must be above SAGAKIT_LONGEST_RETRY_HOURS"):
        load_settings(command_retention_hours=10, longest_retry_hours=10)
