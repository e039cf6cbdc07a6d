"""The details of a saga in Temporal's UI: its steps in Markdown. Written when somebody looks, never while the saga runs."""

from __future__ import annotations

from collections.abc import Callable

from sagakit.links import Links
from sagakit.markdown import code, shown
from sagakit.step_table import StepTable
from sagakit.steps import Step

PlaceOf = Callable[[str, str], tuple[str, str] | None]
"""Finds the service and the stream that a command, by its name and its aggregate's id, goes to."""

_HEAD = "| # | step | touches | commands | kind | state | tries | since |\n|---|---|---|---|---|---|---|---|"
_MOST_CHARACTERS = 20_000
_MOST_STREAMS = 3
_MOST_WAITS = 10
_LONGEST = 200


def details(table: StepTable, links: Links, place_of: PlaceOf) -> str:
    """Write them: the newest steps that fit into 20,000 characters, each with the streams that it touches, at most three."""
    title = f"**{shown(table.name, _LONGEST)}**: {table.status}{table.origin}"
    trace = f"\n\nTrace {links.to_trace(table.trace_id)}" if table.trace_id else ""
    waits = "".join(f"\n\nWaits for {shown(what.replace('`', ''), 2 * _LONGEST)}" for what in table.waits[:_MOST_WAITS])
    hint = f"\n\n{links.hint}" if links.hint else ""
    room = _MOST_CHARACTERS - len(title) - len(trace) - len(waits) - len(_HEAD) - len(hint)
    rows: list[str] = []
    for step in reversed(table.steps):
        row = _row(step, links, place_of)
        room -= len(row) + 1
        if room < 0:
            break
        rows.append(row)
    left_out = len(table.steps) - len(rows)
    earlier = f"\n\n{left_out} earlier steps are left out." if left_out else ""
    body = "".join(f"\n{row}" for row in reversed(rows))
    return f"{title}{trace}{waits}{earlier}\n\n{_HEAD}{body}{hint}"


def _row(step: Step, links: Links, place_of: PlaceOf) -> str:
    side_by_side = f", side by side {step.group}" if step.group else ""
    cells = (
        str(step.number),
        code(step.name, _LONGEST),
        _touched(step, links, place_of),
        str(step.items),
        f"{step.kind}{side_by_side}",
        shown(step.state, _LONGEST),
        str(step.attempts),
        step.since,
    )
    return f"| {' | '.join(cells)} |"


def _touched(step: Step, links: Links, place_of: PlaceOf) -> str:
    if step.saga:
        return code(step.saga, _LONGEST)
    places = [place for each in step.aggregates[:_MOST_STREAMS] if (place := place_of(step.name, each))]
    streams = [links.to_stream(service, stream) for service, stream in dict.fromkeys(places)]
    more = step.items - len(step.aggregates)
    return ", ".join(streams) + (f" and {more} more" if streams and more > 0 else "")
