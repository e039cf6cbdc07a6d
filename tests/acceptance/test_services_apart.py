"""Each service in a process of its own, on real parts: the same outcome as all in one process (G1, G3, G8)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.worker import System, same_but_seconds
from tests.support.processes import end
from worker.sample import SAMPLE

SERVICES = ("orders", "payments", "stock", "shipping", "reporting")
PLENTY = ("--stock-per-product", "1000000", "--decline-over", "350")


def _file() -> Path:
    return Path(os.environ.get("REAL_ORDERS", SAMPLE))


@pytest.mark.timeout(400)
def test_five_processes_come_to_the_same_summary_as_one(embedded: System, real: System) -> None:
    alone = embedded.summary("demo", "--input", str(_file()), *PLENTY)
    processes = [real.start("--service", name) for name in SERVICES]
    try:
        apart = real.summary("import", str(_file()), *PLENTY)
        spans_of_an_order(real)
    finally:
        codes = [end(process, signal.SIGTERM) for process in processes]
    print(alone, apart)
    assert same_but_seconds(apart) == same_but_seconds(alone)
    assert apart["invariants"] == {"stock": True, "money": True, "returns": True, "read_models": True}
    assert apart["completed"] > 0
    assert apart["compensated"] > 0
    assert codes == [0] * len(SERVICES)


def spans_of_an_order(system: System) -> None:
    """One connected trace from place_order to both read models, over all processes (G8)."""
    order = system.json("query", "order_summary", "--where", "status", "eq", "completed")[0]["document"]
    spans = system.json("trace", order)
    by_id = {span["span_id"]: span for span in spans}
    conversation = {span["trace_id"] for span in spans if not span["links"] or span["parent_id"]}
    assert len(conversation) == 1
    trace_id = conversation.pop()
    own = [span for span in spans if span["trace_id"] == trace_id]
    roots = [span for span in own if span["parent_id"] is None]
    assert [span["name"] for span in roots] == ["place_order"]
    assert all(span["parent_id"] in by_id for span in own if span["parent_id"])
    names = {span["name"] for span in own}
    assert {"process orders.saga.order-fulfilment", "step reserve_stock", "reserve_stock", "project order_summary"} <= names
    reported = next(span for span in own if span["name"] == "process reporting.projection.product_sales")
    assert by_id[reported["parent_id"]]["name"] == "ship_order"
    assert [trace_id, reported["parent_id"]] in reported["links"]
    sends = [span for span in spans if span["trace_id"] != trace_id]
    assert any(span["name"] == "send orders.events" for span in sends)
    assert {span["resource"] for span in own} >= {"import", *SERVICES}
