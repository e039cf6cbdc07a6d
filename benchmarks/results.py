"""Writes what was measured: the JSON of a section, and its table between markers in `docs/benchmarks.md`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Result

_HEAD = """# Benchmarks

Both sides in one run, in turn (A B A B ...), after a warm-up of each; medians. What was written is counted after every run.
A ratio says how many times better ours is: above 1 is better, whether more or less is good. *must* and *aim* are what the
project asks of itself. The rows are in `benchmarks/`, every single measurement in `benchmarks/results/`.
"""


def write_json(results: Iterable[Result], path: Path) -> None:
    """Write a section's results as a list; numbers keep six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([_rounded(asdict(result)) for result in results], indent=1) + "\n")


def read_json(path: Path) -> list[Result]:
    """Read a section's results back."""
    return [Result(**one) for one in json.loads(path.read_text())]


def replaced(whole: Iterable[Result], again: Iterable[Result]) -> list[Result]:
    """Put rows that were measured again into the place of the earlier ones."""
    newer = {(result.name, result.against): result for result in again}
    return [newer.get((result.name, result.against), result) for result in whole]


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def table(results: Iterable[Result], facts: Iterable[str]) -> str:
    """Make a section's Markdown: the facts of the run, then a line a row."""
    lines = [f"- {fact}" for fact in facts]
    lines += ["", "| what | against | ours | theirs | ratio | must | aim | reached | runs | foreign CPU |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---|---:|---:|"]
    notes: list[str] = []
    for result in results:
        mark = ""
        if result.note:
            if result.note not in notes:
                notes.append(result.note)
            mark = f" ({notes.index(result.note) + 1})"
        numbers = [f"{_number(side)} {result.unit}" if result.runs["ours"] else "" for side in (result.ours, result.theirs)]
        bounds = ["" if bound is None else f"{bound:.2f}" for bound in (result.must, result.aim)]
        cells = [result.name + mark, result.against, *numbers, f"**{_number(result.ratio)}**", *bounds, result.verdict]
        lines.append(f"| {' | '.join([*cells, str(len(result.runs['ours'])), f'{result.foreign_cpu:.0%}'])} |")
    return "\n".join([*lines, "", *(f"{n}. {note}" for n, note in enumerate(notes, 1))]) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 three digits are enough


def put_section(document: str, section: str, body: str, made_by: str = "") -> str:
    """Replace a section between its markers, or add it behind the others."""
    made_by = made_by or f"make bench SECTION={section}"
    begin, end = f"<!-- begin {section}: made by {made_by} -->", f"<!-- end {section} -->"
    block = f"{begin}\n## {section}\n\n{body}{end}\n"
    document = document or _HEAD
    if begin not in document:
        return f"{document.rstrip()}\n\n{block}"
    before, _, rest = document.partition(begin)
    return before + block + rest.partition(f"{end}\n")[2]
