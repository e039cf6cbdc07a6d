"""Spans of a batch keep the link to each event, however large the batch is (G8)."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider

from sagakit.telemetry import child_span, is_traced, send_span
from sagakit.trace_context import current_traceparent, remote_span, span_context


@dataclass(frozen=True)
class _Sent:
    traceparent: str | None


def _traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (128, [128]), (200, [128, 72]), (1000, [128] * 7 + [104])])
def test_every_event_of_a_batch_is_linked_g8(count: int, sizes: list[int]) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traceparents = [_traceparent(number) for number in range(1, count + 1)]
    sent = [_Sent(text) for text in traceparents]
    with patch("sagakit.telemetry.tracer", lambda: provider.get_tracer("test")), send_span("x.events", sent):
        assert not exporter.get_finished_spans()
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.links[0].context.trace_id)
    assert [link.context for span in spans for link in span.links] == [span_context(text) for text in traceparents]
    assert [len(span.links) for span in spans] == sizes
    assert [(span.attributes or {})["messaging.batch.message_count"] for span in spans] == sizes
    assert {(span.name, span.parent, span.dropped_links) for span in spans} == {("send x.events", None, 0)}
    provider.shutdown()


def test_an_event_without_a_trace_is_sent_all_the_same() -> None:
    with send_span("x.events", [_Sent(None), _Sent("nonsense"), _Sent(_traceparent(1))]):
        pass
    with pytest.raises(OSError, match="away"), send_span("x.events", [_Sent(_traceparent(1))] * 200):
        raise OSError("away")


@pytest.mark.parametrize(("sampler", "kept"), [(ParentBased(ALWAYS_ON), 1), (ALWAYS_ON, 2)], ids=["asks the parent", "keeps all"])
def test_what_its_sender_did_not_keep_is_kept_where_the_sampler_says_so_g8(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler, kept: int
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    monkeypatch.setattr("sagakit.telemetry.tracer", lambda: provider.get_tracer("test"))
    unsampled = _traceparent(7).removesuffix("01") + "00"
    with child_span("process c", unsampled):
        inside = current_traceparent() or ""
    assert inside[:36] == unsampled[:36], "its trace is handed on"
    assert (inside == unsampled) == (kept == 1)
    with child_span("process c", _traceparent(8)):
        pass
    assert [span.parent and span.parent.span_id for span in exporter.get_finished_spans()] == [7, 8][-kept:]
    provider.shutdown()


def test_nobody_traces_here_and_the_trace_of_others_is_handed_on_g8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)  # another test of this process may have set one
    monkeypatch.setattr("sagakit.telemetry.tracer", lambda: NoOpTracerProvider().get_tracer("test"))
    assert not is_traced()
    with child_span("process c", None):
        assert current_traceparent() is None
    with child_span("process c", _traceparent(7)):
        assert current_traceparent() == _traceparent(7)
        with child_span("project p", "nonsense"):
            assert current_traceparent() == _traceparent(7)
    assert current_traceparent() is None


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "ff"])
def test_a_remote_span_has_the_context_of_its_text_g8(flags: str) -> None:
    text = f"00-{7:032x}-{8:016x}-{flags}"
    span, context = remote_span(text), span_context(text)
    assert span is not None
    assert context is not None
    assert span.get_span_context() == context
    assert span.is_sampled == context.trace_flags.sampled
    assert text in repr(span)
    with trace.use_span(span):
        assert current_traceparent() == text
    with trace.use_span(NonRecordingSpan(context)):
        assert current_traceparent() == text


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", f"00-{0:032x}-{8:016x}-01", f"00-{7:032x}-{0:016x}-01", f"01-{7:032x}-{8:016x}-01"]
)
def test_a_malformed_context_is_no_span(text: str | None) -> None:
    assert remote_span(text) is None
    assert span_context(text) is None
