"""Spans go to a collector when one is set, and carry no data of the business (S17)."""

from __future__ import annotations

import gzip
import http.server
import threading
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.worker import System

CANARY = "canary-customer"
ORDER = f'{{"country": "France", "customer": "{CANARY}", "placed_at": "2010-12-01T08:00:00", "lines": [{{"product": "a", "quantity": 1, "unit_price": "2.50"}}]}}'


def test_spans_reach_the_collector_and_the_local_file(tmp_path: Path) -> None:
    received: list[bytes] = []
    paths: list[str] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    system = System(tmp_path / "data", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"})
    system.run("send", "place_order", "1", "--data", ORDER)
    server.shutdown()
    server.server_close()
    requests = [
        ExportTraceServiceRequest.FromString(body) for path, body in zip(paths, received, strict=True) if path == "/v1/traces"
    ]
    names = [
        span.name
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == ["place_order"]
    (local,) = (system.folder / "spans").glob("send-*.jsonl")
    assert '"name": "place_order"' in local.read_text()
    assert CANARY not in local.read_text()
    assert all(CANARY.encode() not in body for body in received)
