"""Writes the results of a whole run as a table into `docs/chaos.md`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import put_section
from tests.chaos.delivery.verdict import Row


def put_table(document: str, rows: Sequence[Row], seed: int) -> str:
    """Put the table in the place of the former one."""
    lines = [f"Seed {seed}.", ""]
    lines += [
        "| what | hits | lost | out of order | double effects | duplicates delivered | besides |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        besides = "; ".join(f"{name}: {value}" for name, value in row.extra.items())
        figures = (row.hits, row.lost, row.out_of_order, row.double_effects, row.duplicates_delivered)
        lines.append(f"| {row.label} | {' | '.join(str(figure) for figure in figures)} | {besides} |")
    return put_section(document, "Results", "\n".join(lines) + "\n", made_by="make chaos SECTION=delivery")
