"""When a saga may go on in another run: a new one is due, nothing is on its way, and nothing that came is still to be taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.calls import Calls
    from sagakit.step_table import A_MOMENT, StepTable

_TASK_BYTES = 3_000_000


class Rest:
    """Brings one saga to rest. ``next_state`` is what the next chapter begins with, where the author began one."""

    def __init__(self, calls: Calls, table: StepTable, run_events: int | None) -> None:
        """Take what the saga does, and after how many events of history it is to go on elsewhere; None: as Temporal suggests."""
        self._calls, self._table, self._run_events = calls, table, run_events
        self._in_flight = 0
        self._heard_at = self._weighed_at = -1
        self._weight = 0
        self.next_state: str | None = None

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Count what is on its way."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @property
    def is_anything_on_its_way(self) -> bool:
        """Tell whether a step waits for its answer."""
        return self._in_flight > 0

    async def room_for(self, size: int) -> None:
        """Wait for the next workflow task where this one carries much already: its commands go in one message of 4 MB."""
        while self._weight and self._weight + size > _TASK_BYTES and self._weighed_at == _task():
            await workflow.sleep(A_MOMENT)
        if self._weighed_at != _task():
            self._weighed_at, self._weight = _task(), 0
        self._weight += size

    def hear(self) -> None:
        """Note that something came from outside with this workflow task."""
        self._heard_at = _task()

    @property
    def is_all_told(self) -> bool:
        """Tell whether all that came with this workflow task is known: signals and updates are told before the rest."""
        return self._heard_at != _task()

    def is_due(self) -> bool:
        """Tell whether a new run is due."""
        if self.next_state is not None:
            return True
        if self._calls.is_sealed or self._calls.stands_elsewhere:
            return False
        info = workflow.info()
        limit = self._run_events
        return info.is_continue_as_new_suggested() or (limit is not None and info.get_current_history_length() >= limit)

    async def turn(self) -> None:
        """Begin nothing new where a new run is due: it will."""
        if self.is_due():
            await workflow.wait_condition(lambda: not self.is_due())

    def is_reached(self) -> bool:
        """Tell whether the saga stands still, with nothing to take that has come."""
        return self._in_flight == 0 and self.is_due() and not self._table.is_anything_here and workflow.all_handlers_finished()


def _task() -> int:
    return workflow.info().get_current_history_length()
