"""The calls that a saga's author makes, each by its place: what one came to is told again to the run that goes on.

A run that goes on where an earlier one stopped calls the author's method from its beginning; every call that had come to an end
answers at once, without a command to Temporal, until the method stands where it stood.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Entry
    from sagakit.told import facts_of, failure_of

_PATCHED = "patched "
END, TOGETHER = "end", "together"
T = TypeVar("T")


@dataclass
class Line:
    """One line of the author's code: calls on it come one after the other. ``task`` is the one that makes them."""

    place: str
    task: asyncio.Task[object] | None = None
    calls: int = 0
    branches: int = 0
    open: Entry | None = None


_line: ContextVar[Line | None] = ContextVar("line", default=None)


@dataclass
class Calls:
    """All calls of one chapter of a saga."""

    entries: dict[str, Entry] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    is_sealed: str = ""
    """Why this saga cannot go on in another run; empty as long as it can."""
    is_over: bool = False
    """The author's method had come to its end: nothing on its lines may be new."""

    async def on_line(self, place: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work as a line of its own; ``place`` names it in every run."""
        line = self._begin_line(place)
        try:
            return await work
        finally:
            self.lines.remove(line)

    def side_by_side(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[asyncio.Task[T]]:
        """Begin a line for each."""
        here = self._here()
        place = f"{here.place}.{here.calls}"
        return [asyncio.create_task(self.on_line(f"{place}/{n}", work)) for n, work in enumerate(works)]

    def _begin_line(self, place: str) -> Line:
        line = Line(place, asyncio.current_task())
        self.lines.append(line)
        _line.set(line)
        return line

    def _here(self) -> Line:
        line, task = _line.get(), asyncio.current_task()
        if line is None or line.task is not task:  # a task that the author made: its place is that of the line it began on
            of = line or self.lines[0]
            of.branches += 1
            line = self._begin_line(f"{of.place}~{of.branches}")
            if task is not None:
                task.add_done_callback(functools.partial(self._end_line, line))
        return line

    def _end_line(self, line: Line, _: asyncio.Task[object]) -> None:
        self.lines.remove(line)

    def begin(self, label: str) -> Entry:
        """Come to the next call: one that an earlier run has made already, or a new one."""
        line = self._here()
        line.calls += 1
        while (
            (past := self.entries.get(f"{line.place}.{line.calls}")) and past.label != label and past.label.startswith(_PATCHED)
        ):
            line.calls += 1  # a patch that the code has dropped since
        if past is None:
            if self.is_over and not line.place.startswith(END):
                raise asyncio.CancelledError  # it had come to its end here; a change of the code adds nothing behind that
            past = self.entries[f"{line.place}.{line.calls}"] = Entry(label=label)
        elif past.label != label:
            raise workflow.NondeterminismError(
                f"call {line.place}.{line.calls} of the saga was {past.label!r} in an earlier run, and is {label!r} now"
            )
        line.open = past
        return past

    @contextmanager
    def noted(self, entry: Entry) -> Iterator[None]:
        """Note how a call ends. What cannot be told again to another run makes this one the last."""
        line = self._here()
        if self.is_over and entry.is_open and entry.label != TOGETHER and not line.place.startswith(END):
            raise asyncio.CancelledError  # it had not come to an end when the saga did
        try:
            yield
        except asyncio.CancelledError:
            entry.failure = ("cancelled", ())
            raise
        except Exception as error:
            entry.failure = facts_of(error)
            if entry.failure is None:
                self.is_sealed = f"{entry.label} failed: {error}"
            raise
        finally:
            entry.is_open, line.open = False, None

    def told(self, entry: Entry) -> str | None:
        """Tell again what a call came to. Raises what it raised."""
        self._here().open = None
        if entry.failure is not None:
            name, facts = entry.failure
            raise asyncio.CancelledError if name == "cancelled" else failure_of(name, facts)
        return entry.outcome

    def read(self, label: str, live: Callable[[], str]) -> str:
        """Read something that may be another thing in another run: once, and the same ever after."""
        entry = self.begin(label)
        if entry.is_open:
            entry.outcome, entry.is_open = live(), False
        return self.told(entry) or ""

    def patched(self, change: str, ask: Callable[[str], bool]) -> bool:
        """Answer as the earlier run did; where it did not come to this change of the code, it keeps to the old way."""
        line, label = self._here(), f"{_PATCHED}{change}"
        past = self.entries.get(f"{line.place}.{line.calls + 1}")
        if past is not None and past.label != label:
            return False
        return bool(self.read(label, lambda: "yes" if ask(change) else ""))

    @property
    def is_in_order(self) -> bool:
        """Tell whether the call just begun comes at the same place among all calls however long others take."""
        return len(self.lines) <= 1 or self._here().calls <= 1

    @property
    def stands_elsewhere(self) -> bool:
        """Tell whether a line waits for something that is no call of the saga's: what that comes to, nobody could tell again."""
        return any(line.open is None for line in self.lines)
