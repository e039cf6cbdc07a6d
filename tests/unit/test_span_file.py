"""The lines of a span file are what `trace` reads, whatever a span was told from outside (G8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from sagakit import span_file
from sagakit.cli.trace import read_spans
from sagakit.span_file import SpanFile
from sagakit.trace_context import span_context

_FOREIGN = [
    pytest.param("plain", id="plain"),
    pytest.param('na\u00efve \U0001f4e6 \u2028 "quoted" \\ \n', id="Unicode, and what JSON escapes"),
    pytest.param("half a pair \ud83d", id="no Unicode"),
]


@pytest.mark.parametrize("foreign", _FOREIGN)
def test_a_span_is_read_as_it_was_told_g8(tmp_path: Path, foreign: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SpanFile(tmp_path / "spans" / "one.jsonl")))
    linked = span_context(f"00-{7:032x}-{8:016x}-01")
    assert linked is not None
    attributes = {"text": foreign, "number": 3, "yes": True, "some": ["a", "b"]}
    with provider.get_tracer("test").start_as_current_span("outer", kind=SpanKind.CONSUMER, links=[Link(linked)]) as outer:
        with provider.get_tracer("test").start_as_current_span(foreign, attributes=attributes) as inner:
            pass
        outer.set_status(Status(StatusCode.ERROR))
    provider.shutdown()
    trace_id = f"{outer.get_span_context().trace_id:032x}"
    found = {span["name"]: span for span in read_spans(tmp_path / "spans", trace_id)}
    assert set(found) == {"outer", foreign}
    assert found[foreign]["attributes"] == attributes
    assert found[foreign]["span_id"] == f"{inner.get_span_context().span_id:016x}"
    assert found[foreign]["parent_id"] == found["outer"]["span_id"]
    assert found[foreign]["start"] <= found[foreign]["end"]
    assert found["outer"]["links"] == [[f"{7:032x}", f"{8:016x}"]]
    assert (found["outer"]["kind"], found["outer"]["status"], found[foreign]["status"]) == ("consumer", "error", "unset")


def test_a_full_file_grows_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_file, "_MAX_FILE_BYTES", 1)
    provider, path = TracerProvider(), tmp_path / "one.jsonl"
    provider.add_span_processor(SimpleSpanProcessor(SpanFile(path)))
    for name in ("first", "second"):
        provider.get_tracer("test").start_span(name).end()
    provider.shutdown()
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert '"first"' in line
