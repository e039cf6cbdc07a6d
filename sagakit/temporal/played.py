"""How a rehearsal went, and what of it has to hold whatever went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sagakit.temporal.participants import Call
from sagakit.temporal.tree import step_of


@dataclass(frozen=True)
class Played:
    """How a rehearsal went. ``status`` is *completed*, *compensated*, or *failed* for a mistake in the saga behind its pivot.

    ``missed`` names the faults that were wanted, and whose place the saga never came to.
    """

    workflow_id: str
    status: str
    reason: str
    was_parked: bool
    calls: tuple[Call, ...]
    standing: Mapping[str, str]
    steps: tuple[dict[str, Any], ...]
    unmatched: tuple[str, ...]
    waited: tuple[tuple[int, str], ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    missed: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `AssertionError` when a command took effect twice, or is half undone, or was done after it was undone."""
        for effect in ("done", "undone"):
            keys = [call.key for call in self.calls if call.effect == effect]
            if len(keys) != len(set(keys)):
                raise AssertionError(f"{effect} twice: {keys}")
        half = [k for k, state in self.standing.items() if state == "done" and self.kinds.get(step_of(k)) == "compensable"]
        if self.status == "compensated" and half:
            raise AssertionError(f"compensated, but left as it was: {half}")
        done_without = {call.key for call in self.calls if call.is_undo and not call.was_done}
        gone = [key for key, state in self.standing.items() if state != "done" and key not in done_without]
        if self.status == "completed" and gone:
            raise AssertionError(f"completed, but undone or never done: {gone}")
