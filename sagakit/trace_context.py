"""W3C trace context as the text that is stored with an event, and back.

Source: W3C Trace Context, version 00; a text of another version counts as none.
"""

from __future__ import annotations

import re

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class RemoteSpan(NonRecordingSpan):
    """A span elsewhere, of which only the text is here: it is read when somebody asks, which for most nobody does."""

    def __init__(self, traceparent: str) -> None:
        """Take the text, well-formed."""
        self.traceparent = traceparent
        self._read: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """See `trace.Span`."""
        if self._read is None:
            self._read = span_context(self.traceparent) or trace.INVALID_SPAN_CONTEXT
        return self._read

    @property
    def is_sampled(self) -> bool:
        """Tell whether its sender kept it."""
        return bool(int(self.traceparent[-1], 16) & TraceFlags.SAMPLED)


def remote_span(traceparent: str | None) -> RemoteSpan | None:
    """Return the span that a text stands for; anything malformed counts as none, since it may come from outside."""
    return RemoteSpan(traceparent) if traceparent and _TRACEPARENT.fullmatch(traceparent) else None


def span_context(traceparent: str | None) -> SpanContext | None:
    """Read W3C text; anything malformed counts as none, since it may come from outside."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))


def current_traceparent() -> str | None:
    """Return the context of the span in hand as W3C text, to be stored with an event."""
    span = trace.get_current_span()
    if isinstance(span, RemoteSpan):
        return span.traceparent
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
