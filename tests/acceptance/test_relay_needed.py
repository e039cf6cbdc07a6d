"""No leg is bypassed: without the relay no saga starts, in one process and over RabbitMQ (G3)."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.worker import System
from tests.support.processes import end, wait_until

WITHOUT_RELAY = [word for role in ("commands", "consumers", "projections", "sagas") for word in ("--role", role)]
ORDER = {
    "country": "France",
    "placed_at": "2010-12-01T08:00:00",
    "lines": [{"product": "a", "quantity": 1, "unit_price": "2.50"}],
}


@pytest.mark.parametrize("parts", ["embedded", "real"])
def test_without_the_relay_no_saga_starts(parts: str, request: pytest.FixtureRequest) -> None:
    system: System = request.getfixturevalue(parts)
    worker = system.start(*WITHOUT_RELAY)
    try:
        assert "order.placed (version 1)" in system.run("send", "place_order", "9", "--data", json.dumps(ORDER)).stdout
        # The read model of the same service shows that the worker is awake and has met the event.
        wait_until(lambda: _status(system) == "open", 30, "the order in its own read model")
        assert system.json("sagas", "list") == []
    finally:
        assert end(worker) == 0
    worker = system.start("--role", "relay", *WITHOUT_RELAY)
    try:
        # There is no stock: the saga starts, is refused, and cancels the order.
        wait_until(lambda: _status(system) == "cancelled", 60, "the outcome")
        wait_until(lambda: [s["workflow_id"] for s in system.json("sagas", "list")] == ["order-fulfilment/9"], 20, "the saga")
    finally:
        assert end(worker) == 0


def _status(system: System) -> str:
    rows = system.json("query", "order_summary", "--where", "document", "eq", "9")
    return str(rows[0]["status"]) if rows else ""
