"""What one scenario came to: a row of `tests/chaos/results/sagas.json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """How a run goes: ``is_quick`` for a look, which is not written as the result; ``folder`` is thrown away afterwards."""

    seed: int
    is_quick: bool
    transfers: int
    folder: Path


@dataclass(frozen=True)
class Row:
    """Every saga of the scenario ended *completed*, *compensated* or *parked*; what did neither is *stuck*."""

    scenario: str
    runs: int
    completed: int
    compensated: int
    parked: int
    stuck: int = 0
    double_effects: int = 0
    invariant_breaks: int = 0

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, in words; nothing for a row as it should be."""
        wrong = [f"{name} {value}" for name in ("stuck", "double_effects", "invariant_breaks") if (value := getattr(self, name))]
        ended = self.completed + self.compensated + self.parked + self.stuck
        wrong += [f"{ended} outcomes of {self.runs} runs"] if ended != self.runs else []
        wrong += ["nothing ran"] if not self.runs else []
        return [f"{self.scenario}: {fault}" for fault in wrong]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Say = Callable[[str], None]
Scenario = Callable[[Options, Say], Awaitable[list[Row]]]
