"""What a saga keeps to be shown: its steps, what it waits for, and its status, which is a search attribute as well."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Entry
    from sagakit.steps import SAGA_STATUS, Kind, Status, Step

_MOST_WAITS = 100
A_MOMENT = timedelta(milliseconds=1)
"""The shortest wait that is one: Temporal takes none of no length."""


class StepTable:
    """The steps of one saga. Nothing of it is a command to Temporal, but the status where it changes: `details` reads it."""

    def __init__(self, saga_name: str) -> None:
        """Begin with no step."""
        self.name = saga_name
        self.waits: list[str] = []
        self._ready: list[Callable[[], bool]] = []
        self.count = 0
        self.origin = self.trace_id = ""
        self.waited: list[tuple[int, str]] = []
        """What was waited for, and behind how many steps: what a diagram is drawn from."""
        self.steps: list[Step] = []
        self.status: Status = "running"

    def begin(self, name: str, items: int, kind: Kind, group: int | None, call: Entry, aggregates: Sequence[str] = ()) -> Step:
        """Write a step down: a new one under the next number, or one of an earlier run under the number it had."""
        if call.number is None:
            self.count += 1
            call.number, call.since = self.count, _now()
        known = tuple(aggregates)
        step = Step(call.number, name, items, kind, group, since=call.since, attempts=call.attempts, aggregates=known)
        insort(self.steps, step, key=_number)
        return step

    def mark(self, step: Step, state: str, *, attempts: int | None = None, call: Entry | None = None) -> None:
        """Say how a step stands; with ``call`` it is its last word, which is kept for later runs."""
        step.state, step.since = state, _now()
        step.attempts = attempts or step.attempts
        if call is not None:
            call.since, call.attempts = step.since, step.attempts

    def set_status(self, status: Status) -> None:
        """Say how the saga stands: upserted where it changes, and nowhere else, since each upsert costs."""
        if status != self.status:
            self.status = status
            workflow.upsert_search_attributes([SAGA_STATUS.value_set(status)])

    async def wait(self, what: str, is_here: Callable[[], bool], until: datetime | None = None) -> None:
        """Wait for a condition, in sight: until it holds, or its time is over. The condition must change nothing."""
        self.waits.append(what)
        self._ready.append(is_here)
        self.waited = [*self.waited[1 - _MOST_WAITS :], (self.count, what.partition(" until ")[0])]
        within = None if until is None else max(until - workflow.now(), A_MOMENT)
        # No `finally`: a saga that is evicted from a worker's cache ends here too, and may show nothing any more.
        try:
            await workflow.wait_condition(is_here, timeout=within, timeout_summary=what[:200])
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            self._no_longer(what, is_here)
            raise
        self._no_longer(what, is_here)

    async def decided(self, is_here: Callable[[], bool]) -> None:
        """Wait for a condition that is shown elsewhere."""
        self._ready.append(is_here)
        await workflow.wait_condition(is_here)
        self._ready.remove(is_here)

    def _no_longer(self, what: str, is_here: Callable[[], bool]) -> None:
        self.waits.remove(what)
        self._ready.remove(is_here)

    @property
    def is_anything_here(self) -> bool:
        """Tell whether something that is waited for has come, and is about to be taken."""
        return any(is_here() for is_here in self._ready)


def _number(step: Step) -> int:
    return step.number


def _now() -> str:
    # Not strftime: it imports a module, which costs in a sandbox.
    return workflow.now().isoformat(" ", "seconds").removesuffix("+00:00")
