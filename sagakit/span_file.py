"""Spans as JSON lines in one file of each process, where `trace` looks for them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from pydantic_core import PydanticSerializationError, to_json

_MAX_FILE_BYTES = 64 * 1024 * 1024


class SpanFile(SpanExporter):
    """Writes spans as JSON lines into one file of this process; stops at 64 MiB so that it never fills a disk."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending; the folder is made when missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans and flush."""
        if self._file.tell() < _MAX_FILE_BYTES:
            self._file.writelines(_line(span) for span in spans)
            self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def _line(span: ReadableSpan) -> bytes:
    fields = _as_json(span)
    try:
        return to_json(fields) + b"\n"  # half of the other's time
    except PydanticSerializationError:
        return json.dumps(fields).encode() + b"\n"  # a text from outside that is no Unicode: half a surrogate pair


def _as_json(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    return {
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "links": [[f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}"] for link in span.links],
        "name": span.name,
        "kind": span.kind.name.lower(),
        "start": span.start_time,
        "end": span.end_time,
        "status": span.status.status_code.name.lower(),
        "attributes": dict(span.attributes or {}),
        "resource": str(span.resource.attributes.get("service.name", "")),
        "pid": os.getpid(),
    }
