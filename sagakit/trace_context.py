"""W3C trace context as the text that is stored with an event, and back.

Source: W3C Trace Context, version 00; a text of another version counts as none.
"""

from __future__ import annotations

import re

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class RemoteSpan(NonRecordingSpan):
    """A span elsewhere, of which only the text is here: its numbers are read when somebody asks, which for most nobody does."""

    def __init__(self, found: re.Match[str]) -> None:
        """Take the text, well-formed."""
        self._found = found

    @property
    def traceparent(self) -> str:
        """The text."""
        return self._found[0]

    @property
    def is_sampled(self) -> bool:
        """Tell whether its sender kept it."""
        return bool(int(self._found[3], 16) & TraceFlags.SAMPLED)

    def get_span_context(self) -> SpanContext:
        """See `trace.Span`."""
        trace_id, span_id, flags = (int(part, 16) for part in self._found.groups())
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))

    def __repr__(self) -> str:
        """Show the text."""
        return f"RemoteSpan({self.traceparent})"


def remote_span(traceparent: str | None) -> RemoteSpan | None:
    """Return the span that a text stands for; anything malformed counts as none, since it may come from outside."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return RemoteSpan(found) if found else None


def span_context(traceparent: str | None) -> SpanContext | None:
    """Read W3C text; anything malformed counts as none."""
    span = remote_span(traceparent)
    return span.get_span_context() if span else None


def current_traceparent() -> str | None:
    """Return the context of the span in hand as W3C text, to be stored with an event."""
    span = trace.get_current_span()
    if isinstance(span, RemoteSpan):
        return span.traceparent
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
