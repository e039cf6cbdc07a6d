"""Real services, harmed at each point of an order: kill -9 of the worker; and a judge that can convict (G4, D1, D2, D7).

The whole of it is `make chaos SECTION=sagas`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.sagas.failure_points import Result, harmed, product, temporal_that_skips_time
from tests.chaos.sagas.points import Points
from tests.chaos.sagas.run import Run
from worker.rehearsals import REHEARSALS
from workflows.order_fulfilment import OrderFulfilment

ORDERS = tuple(rehearsal for rehearsal in REHEARSALS if rehearsal.saga is OrderFulfilment)[:1]


@pytest.fixture
async def settings(temporal_binary: Path, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    assert temporal_binary
    async with temporal_that_skips_time(tmp_path / "temporal") as address:
        yield {"temporal_address": address}


@pytest.fixture(scope="module")
def known() -> list[Points]:
    """The points of an order, once a test has found them."""
    return []


def _told(result: Result) -> str:
    return f"{result.summary()}\n" + "\n".join(result.faults)


@pytest.mark.timeout(180)
async def test_a_kill_9_at_each_step_and_each_undo_of_an_order_g4(
    tmp_path: Path, settings: dict[str, Any], known: list[Points]
) -> None:
    def is_wanted(run: Run) -> bool:
        return run.harm == "worker kill -9" and run.wait is None

    result = await harmed("SERVICES", ORDERS, tmp_path / "orders", settings, wanted=is_wanted)
    known += result.found
    print(result.summary())
    assert not result.faults, _told(result)
    assert result.kills >= 1
    killed_at = {run.point for run in result.runs}
    assert {"reserve_stock", "ship_order", "complete_order", "undo by release_stock"} <= killed_at
    (row,) = result.rows()
    assert row.faults == []
    assert (row.runs, row.completed + row.compensated) == (len(result.runs), len(result.runs))


@pytest.mark.timeout(180)
async def test_participants_without_fences_are_convicted_d2(
    tmp_path: Path, settings: dict[str, Any], known: list[Points]
) -> None:
    """A call that arrives when its saga has compensated finds no fence, and takes effect: the judge sees it."""

    def is_wanted(run: Run) -> bool:
        return (run.harm, run.point) == ("late success", "authorise_payment")

    result = await harmed("SERVICES", ORDERS, tmp_path / "orders", settings, wanted=is_wanted, known=known, is_unfenced=True)
    (row,) = result.rows()
    assert (row.runs, row.compensated, row.invariant_breaks > 0) == (1, 1, True), _told(result)
    assert any("done and not undone, and the saga compensated" in fault for fault in result.faults)


def test_every_saga_of_the_product_is_harmed_g4() -> None:
    sagas = {rehearsal.saga.saga_name for rehearsals in product().values() for rehearsal in rehearsals}
    assert {"order-fulfilment", "order-return", "money-transfer", "subscription-renewal"} <= sagas


def test_a_saga_that_is_not_rehearsed_fails_the_run_g4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.rehearsals.BANK", ())
    with pytest.raises(AssertionError, match="MoneyTransfer"):
        product()
