"""What a saga shows of itself while it runs: the step table in Markdown, and its status as a search attribute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.steps import SAGA_STATUS, Kind, Status, Step

_HEAD = "| # | step | commands | kind | state | tries | since |\n|---|---|---|---|---|---|---|"


class StepTable:
    """The steps of one saga. Costs no task of its own: current details travel with what the workflow does anyway."""

    def __init__(self, saga_name: str) -> None:
        """Begin with no step."""
        self._name = saga_name
        self._waits: list[str] = []
        self.steps: list[Step] = []
        self.status: Status = "running"

    def begin(self, name: str, items: int, kind: Kind, group: int | None = None) -> Step:
        """Write a new step down; its number is its place."""
        step = Step(len(self.steps) + 1, name, items, kind, group, since=_now())
        self.steps.append(step)
        self.show()
        return step

    def mark(self, step: Step, state: str, *, attempts: int | None = None) -> None:
        """Say how a step stands."""
        step.state, step.since = state, _now()
        step.attempts = attempts or step.attempts
        self.show()

    def set_status(self, status: Status) -> None:
        """Say how the saga stands: upserted where it changes, and nowhere else, since each upsert costs."""
        if status != self.status:
            self.status = status
            workflow.upsert_search_attributes([SAGA_STATUS.value_set(status)])
        self.show()

    async def wait(self, what: str, is_here: Callable[[], bool], within: timedelta | None) -> None:
        """Wait for a condition, in sight: until it holds, or its time is over."""
        self._waits.append(what)
        self.show()
        # No `finally`: a saga that is evicted from a worker's cache ends here too, and may show nothing any more.
        try:
            await workflow.wait_condition(is_here, timeout=within, timeout_summary=what[:200])
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self._waits.remove(what)
            raise
        self._waits.remove(what)
        self.show()

    def show(self) -> None:
        """Set the workflow's current details."""
        rows = "\n".join(
            f"| {s.number} | `{s.name}` | {s.items} | {s.kind}{f', side by side {s.group}' if s.group else ''} | {s.state} "
            f"| {s.attempts} | {s.since} |"
            for s in self.steps
        )
        waits = "".join(f"\n\nWaits for {what}" for what in self._waits)
        workflow.set_current_details(f"**{self._name}**: {self.status}{waits}\n\n{_HEAD}\n{rows}")


def _now() -> str:
    return workflow.now().strftime("%Y-%m-%d %H:%M:%S")
