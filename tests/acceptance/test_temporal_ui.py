"""What a person sees in the Temporal UI, read through the UI's own API."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from typing import Any

from tests.acceptance.worker import System
from tests.support.processes import end
from worker.sample import SAMPLE


def _get(ui: str, path: str) -> Any:
    with urllib.request.urlopen(f"{ui}/api/v1/namespaces/default{path}", timeout=10) as answer:  # noqa: S310 our own server
        return json.load(answer)


def _text(payload: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(payload["data"]))


def test_one_completed_and_one_compensated_order(embedded: System) -> None:
    embedded.settings["SAGAKIT_TRACE_URL"] = "http://127.0.0.1:16686/trace/{trace_id}"
    worker = embedded.start()
    try:
        embedded.summary("import", str(SAMPLE), "--decline-over", "350")
        ui = json.loads((embedded.folder / "temporal/address.json").read_text())["ui"]
        sagas = embedded.json("sagas", "list", "--status", "compensated")
        assert sagas
        compensated = sagas[0]["workflow_id"]
        completed = next(
            saga["workflow_id"]
            for saga in embedded.json("sagas", "list", "--status", "completed")
            if "fulfilment" in saga["workflow_id"]
        )
        _check(
            ui, completed, ["reserve_stock", "authorise_payment", "ship_order", "capture_payment", "complete_order"], "completed"
        )
        _check(
            ui,
            compensated,
            ["reserve_stock", "authorise_payment", "void_payment", "release_stock", "cancel_order"],
            "compensated",
        )
        order = completed.removeprefix("order-fulfilment/")
        trace_id = embedded.json("trace", order)[0]["trace_id"]
        details = _details(ui, {"workflowId": completed})
        assert f"Trace [{trace_id}](http://127.0.0.1:16686/trace/{trace_id})\n" in details
        assert f"| `authorise_payment` | `payment-{order}` |" in details
    finally:
        assert end(worker) == 0


def _check(ui: str, workflow_id: str, activities: list[str], status: str) -> None:
    quoted = urllib.parse.quote(workflow_id, safe="")
    described = _get(ui, f"/workflows/{quoted}")
    order = workflow_id.removeprefix("order-fulfilment/")
    metadata = described["executionConfig"]["userMetadata"]
    assert _text(metadata["summary"]) == f"order-fulfilment of order-{order}, started by order.placed"
    info = described["workflowExecutionInfo"]
    assert info["type"]["name"] == "OrderFulfilment"
    fields = {name: _text(payload) for name, payload in info["searchAttributes"]["indexedFields"].items()}
    assert fields["SagaStatus"] == status
    assert fields["CorrelationId"] == f"place_order/{order}"
    events = _get(ui, f"/workflows/{quoted}/history?maximumPageSize=500")["history"]["events"]
    scheduled = [event for event in events if "activityTaskScheduledEventAttributes" in event]
    names = [event["activityTaskScheduledEventAttributes"]["activityType"]["name"] for event in scheduled]
    assert names == activities
    assert f"x {activities[0]}, " in _text(scheduled[0]["userMetadata"]["summary"])
    queues = {event["activityTaskScheduledEventAttributes"]["taskQueue"]["name"] for event in scheduled}
    assert {"stock", "payments", "orders"} <= queues
    details = _details(ui, info["execution"])
    assert f"**order-fulfilment**: {status}" in details
    assert "| 1 | `reserve_stock` |" in details


def _details(ui: str, execution: dict[str, str]) -> str:
    """The current details, which the UI asks a worker for by the query __temporal_workflow_metadata."""
    quoted = urllib.parse.quote(execution["workflowId"], safe="")
    query = {"execution": execution, "query": {"queryType": "__temporal_workflow_metadata"}}
    request = urllib.request.Request(  # noqa: S310 our own server
        f"{ui}/api/v1/namespaces/default/workflows/{quoted}/query/__temporal_workflow_metadata",
        data=json.dumps(query).encode(),
        headers={"Content-Type": "application/json", **_csrf(ui)},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 our own server
        return str(_text(json.load(answer)["queryResult"]["payloads"][0])["currentDetails"])


def _csrf(ui: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{ui}/api/v1/settings", timeout=10) as answer:  # noqa: S310 our own server
        cookies = [cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie", [])]
    tokens = {name: value for name, _, value in (cookie.partition("=") for cookie in cookies)}
    return {"Cookie": "; ".join(cookies), "X-CSRF-TOKEN": tokens.get("_csrf", "")}
