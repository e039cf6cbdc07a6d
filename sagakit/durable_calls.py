"""Which calls of an author's code a saga remembers: those that may be steps, or may wait."""

from __future__ import annotations

import ast

DURABLE = frozenset(
    {
        "step",
        "together",
        "expect",
        "ask_service",
        "ask_person",
        "conclude",
        "compensated",
        "new_chapter",
        "sleep",
        "sleep_until",
        "child",
    }
)


def takes_steps(node: ast.AST) -> bool:
    """Tell whether any of them is somewhere in a piece of source."""
    return any(
        isinstance(inner, ast.Attribute)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "self"
        and inner.attr in DURABLE
        for inner in ast.walk(node)
    )
