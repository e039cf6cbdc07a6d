"""`trace`: draws one conversation's spans, from all processes' span files, as a waterfall."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sagakit.cli.output import print_json, runs, stdout
from sagakit.cli.session import Session, open_system, session_of
from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.trace_context import span_context

_WIDTH = 40
Span = dict[str, Any]


@runs
async def trace(
    context: typer.Context,
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="An aggregate's id (an order's number), or a trace id of 32 hex digits.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")] = False,
) -> None:
    """Draw the trace of one business conversation, from its first command to the read models."""
    session = session_of(context)
    trace_id = identifier if re.fullmatch(r"[0-9a-f]{32}", identifier) else await _trace_of(session, identifier)
    spans = read_spans(session.settings.data / "spans", trace_id)
    if not spans:
        raise InvalidInput(
            f"no span of trace {trace_id} is in {session.settings.data / 'spans'}; its processes may have run elsewhere"
        )
    if as_json:
        print_json(spans)
    else:
        _draw(trace_id, spans)


async def _trace_of(session: Session, aggregate_id: str) -> str:
    """Find the trace of an aggregate's first event."""
    first: RecordedEvent | None = None
    async with open_system(session) as system:
        for service in session.services.services:
            for aggregate in service.aggregates:
                events = await (await system.open(service.name)).store.load(aggregate.stream_of(aggregate_id))
                if events and (first is None or events[0].recorded_at < first.recorded_at):
                    first = events[0]
    if first is None:
        raise InvalidInput(f"no aggregate has the id {aggregate_id!r}")
    found = span_context(first.metadata.traceparent)
    if found is None:
        raise InvalidInput(f"{first.stream} was written without a trace")
    return f"{found.trace_id:032x}"


def read_spans(folder: Path, trace_id: str) -> list[Span]:
    """Collect a trace's spans, and the sends that link to it, in the order of their start."""
    spans: dict[str, Span] = {}
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if trace_id not in line:
                    continue
                try:
                    span: Span = json.loads(line)
                except ValueError:
                    continue  # the last line of a process that was killed
                if span["trace_id"] == trace_id or any(link[0] == trace_id for link in span["links"]):
                    spans[span["span_id"]] = span
    return sorted(spans.values(), key=lambda span: span["start"])


def _draw(trace_id: str, spans: list[Span]) -> None:
    begin, end = min(s["start"] for s in spans), max(s["end"] for s in spans)
    length = max(end - begin, 1)
    ids = {span["span_id"] for span in spans if span["trace_id"] == trace_id}
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        # A send belongs to a batch of conversations: it stands under the span that it links to.
        linked = next((link[1] for link in span["links"] if link[0] == trace_id and link[1] in ids), None)
        parent = span["parent_id"] if span["trace_id"] == trace_id else linked
        children[parent if parent in ids else None].append(span)
    stdout.print(f"trace {trace_id}, {len(spans)} spans, {length / 1e6:.0f} ms")

    def draw(span: Span, depth: int) -> None:
        start = int((span["start"] - begin) / length * (_WIDTH - 1))
        bar = max(1, round((span["end"] - span["start"]) / length * _WIDTH))
        line = " " * start + "━" * min(bar, _WIDTH - start)
        color = "red" if span["status"] == "error" else "yellow" if span["trace_id"] != trace_id else "cyan"
        name = "  " * depth + ("↗ " if span["trace_id"] != trace_id else "") + span["name"]
        took = (span["end"] - span["start"]) / 1e6
        stdout.print(f"{name[:58]:<58} {span['resource'][:10]:<10} [{color}]{line:<{_WIDTH}}[/] {took:8.1f} ms", soft_wrap=True)
        for child in children[span["span_id"]]:
            draw(child, depth + 1)

    for root in children[None]:
        draw(root, 0)
