"""Spans and metrics go to a collector when one is set, and carry no data of the business (S17)."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.worker import System

CANARY = "canary-customer"
ORDER = f'{{"country": "France", "customer": "{CANARY}", "placed_at": "2010-12-01T08:00:00", "lines": [{{"product": "a", "quantity": 1, "unit_price": "2.50"}}]}}'


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what processes send it, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.received: list[tuple[str, bytes]] = []

    def bodies(self, path: str) -> list[bytes]:
        return [body for at, body in self.received if at == path]


class _Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        assert isinstance(self.server, Collector)
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_reaches_the_collector_and_the_local_file(tmp_path: Path, collector: Collector) -> None:
    system = System(tmp_path / "data", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"})
    system.run("send", "place_order", "1", "--data", ORDER)
    names = [
        span.name
        for body in collector.bodies("/v1/traces")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == ["place_order"]
    (local,) = (system.folder / "spans").glob("send-*.jsonl")
    assert [json.loads(line)["name"] for line in local.read_text().splitlines()] == ["place_order"]
    assert CANARY not in local.read_text()
    collector.received.clear()
    system.run("reconcile", "--grace", "0")
    waiting = [
        point.as_int
        for body in collector.bodies("/v1/metrics")
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "sagakit.reconcile.waiting"
        for point in metric.gauge.data_points
    ]
    accounts = system.json("reconcile", "--grace", "0")
    assert sorted(waiting) == sorted(account["waiting"] for account in accounts)
    assert sum(waiting) > 0  # no relay runs: the order is owed to whom it concerns
    assert not any(CANARY.encode() in body for _, body in collector.received)
