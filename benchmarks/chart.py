"""Draws a section's ratios beside what must and should be reached, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

from benchmarks.measure import Result

_LEFT, _WIDTH, _STEP = 400, 480, 24
_COLOURS = {"aim": "#2a7f4f", "must": "#7fae5b", "missed": "#c0492f", "shown": "#6b7f99"}


def chart(results: Sequence[Result]) -> str:
    """Make one bar a row on a logarithmic axis, green where the aim is reached, red where the must is missed."""
    values = [v for result in results for v in (result.ratio, result.must, result.aim, 1.0) if v]
    low, high = log10(min(values)) - 0.1, log10(max(values)) + 0.2

    def across(value: float) -> float:
        return _LEFT + (log10(value) - low) / (high - low) * _WIDTH

    height = _STEP * len(results) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="100%" height="{height}" fill="#ffffff"/>',
        f'<line x1="{across(1):.1f}" y1="8" x2="{across(1):.1f}" y2="{height - 36}" stroke="#999999"/>',
    ]
    for place, result in enumerate(results):
        top, end = 12 + place * _STEP, across(result.ratio)
        start, width = min(across(1), end), max(abs(end - across(1)), 1)
        parts += [
            f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(result.name)}</text>',
            f'<rect x="{start:.1f}" y="{top}" width="{width:.1f}" height="16" fill="{_COLOURS[result.verdict]}"/>',
            f'<text x="{max(end, across(1)) + 5:.1f}" y="{top + 12}">{result.ratio:.2f}</text>',
        ]
        for bound, dash in ((result.must, ""), (result.aim, ' stroke-dasharray="3 2"')):
            if bound is not None:
                x = across(bound)
                parts.append(
                    f'<line x1="{x:.1f}" y1="{top - 2}" x2="{x:.1f}" y2="{top + 18}" stroke="#222222" stroke-width="2"{dash}/>'
                )
    legend = "times better than the other side, logarithmic; full mark: must, dashed mark: aim"
    return "\n".join([*parts, f'<text x="{_LEFT}" y="{height - 14}" fill="#555555">{legend}</text>', "</svg>", ""])
