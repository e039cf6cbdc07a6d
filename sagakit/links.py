"""Where the details of a saga link to: its trace, and the streams that its steps touch."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sagakit.markdown import code, linked

_LONGEST = 80


@dataclass(frozen=True)
class Links:
    """The templates of the settings; without one, what would be linked is named."""

    trace_url: str | None = None
    stream_url: str | None = None

    def to_trace(self, trace_id: str) -> str:
        """Show a trace id."""
        if self.trace_url is None:
            return code(trace_id, _LONGEST)
        return linked(trace_id, self.trace_url.replace("{trace_id}", quote(trace_id, safe="")), _LONGEST)

    def to_stream(self, service: str, stream: str) -> str:
        """Show a stream. Both names go into the URL encoded, so neither leads it elsewhere."""
        if self.stream_url is None:
            return code(stream, _LONGEST)
        # In one pass: a stream may be called {service}.
        parts = self.stream_url.split("{stream}")
        url = quote(stream, safe="").join(part.replace("{service}", quote(service, safe="")) for part in parts)
        return linked(stream, url, _LONGEST)

    @property
    def hint(self) -> str:
        """Say by which commands to look at what is named and not linked."""
        ways = ["a trace: `trace ID`"] if self.trace_url is None else []
        ways += ["a stream: `events --stream STREAM`"] if self.stream_url is None else []
        return f"To see {', '.join(ways)}." if ways else ""
