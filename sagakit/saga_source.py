"""Checks the source of sagas before they run: *proven*, *not proven* and why, or *wrong*.

*Proven* means that on every way through the source nothing compensable and no second pivot is behind the pivot, that each
command and undo is handled by a service, and that no cancellation is swallowed. It is conservative: what it cannot follow is *not
proven*, and is checked when the saga runs and by the scenarios of `sagakit.testing.rehearsing`.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from sagakit.saga import Saga
from sagakit.saga_commands import CommandReader
from sagakit.saga_walk import Walk


@dataclass(frozen=True, order=True)
class Finding:
    """Something about a line of a saga; ``is_wrong`` when it is so for certain."""

    line: int
    what: str
    is_wrong: bool


@dataclass(frozen=True)
class Report:
    """What the source of one saga shows."""

    saga: str
    file: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """Say *proven*, *not proven* or *wrong*."""
        if any(finding.is_wrong for finding in self.findings):
            return "wrong"
        return "not proven" if self.findings else "proven"


def check_source(saga: type[Saga], serves: Callable[[str], bool]) -> Report:
    """Check a saga; ``serves`` tells whether a service handles the command of a name."""
    findings: set[Finding] = set()
    try:
        lines, first = inspect.getsourcelines(saga)
        file = inspect.getsourcefile(saga) or "?"
    except (OSError, TypeError):
        return Report(saga.saga_name, "?", (Finding(0, "its source is not at hand", is_wrong=False),))
    (written,) = (node for node in ast.parse(textwrap.dedent("".join(lines))).body if isinstance(node, ast.ClassDef))

    def note(node: ast.AST, what: str, is_wrong: bool) -> None:  # noqa: FBT001 called by position, by Walk alone
        findings.add(Finding(first + getattr(node, "lineno", 1) - 1, what, is_wrong))

    methods = {node.name: node for node in written.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names = vars(sys.modules[saga.__module__])
    for name in (_run_method(saga), "compensated"):
        if name in methods:
            Walk(methods, CommandReader(names), serves, frozenset(saga.expects), saga.asks, note).method(name)
        elif name != "compensated":
            note(written, "its run method is not written in the class itself", False)  # noqa: FBT003 as above
    return Report(saga.saga_name, file, tuple(sorted(findings)))


def _run_method(saga: type[Saga]) -> str:
    return next((name for name, method in inspect.getmembers(saga) if hasattr(method, "__temporal_workflow_run")), "run")
