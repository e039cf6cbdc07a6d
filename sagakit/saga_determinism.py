"""What a saga's source must not call: what answers otherwise at a replay, or in a later run of the same saga."""

from __future__ import annotations

import ast
from collections.abc import Callable

Say = Callable[[ast.AST, str], None]
_OF_ONE_RUN = frozenset({"now", "time", "time_ns", "random", "new_random", "uuid4", "uuid7", "sleep", "wait_condition"})


def check_determinism(called: object, node: ast.expr, wrong: Say, unclear: Say) -> None:
    """Find what gives another answer at each replay, or in each run of a saga that goes on in new ones."""
    module, name = getattr(called, "__module__", None), getattr(called, "__name__", "")
    owner = getattr(called, "__self__", None)
    where = module or (owner.__module__ if isinstance(owner, type) else "")
    if where in ("time", "random", "uuid", "secrets") or (where == "datetime" and name in ("now", "utcnow", "today")):
        wrong(node, f"{where}.{name} answers otherwise when the saga is replayed: take it from the saga, or from a step")
    elif where.startswith(("temporalio.workflow", "asyncio")) and name in _OF_ONE_RUN:
        unclear(
            node, f"{name} of {where.partition('.')[0]} is known to one run only: use self.now(), self.sleep(...), self.random"
        )
