"""The events that reach a running saga: kept until it waits for them, each once, those of a stream in their order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.errors import NotInTime
    from sagakit.messages import Event
    from sagakit.step_table import StepTable
    from sagakit.steps import Arrived

E = TypeVar("E", bound=Event)
_REMEMBERED = 10_000


class Letterbox:
    """What came for one saga.

    Delivery: an event is handed out once, however often it came; one that came before the saga waited for it is kept.
    Ordering: of the events of one stream that are here, the lowest version is handed out first.
    """

    def __init__(self, table: StepTable) -> None:
        """Begin empty."""
        self._table = table
        self.is_hurried = False
        self._seen: dict[str, None] = {}
        self._letters: list[tuple[Arrived, Event]] = []

    def put(self, arrived: Arrived, event: Event) -> bool:
        """Keep an event; False when it came before."""
        if arrived.id in self._seen:
            return False
        self._seen[arrived.id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._letters.append((arrived, event))
        self._letters.sort(key=lambda letter: (letter[0].stream, letter[0].version))
        return True

    def take(self, event_type: type[E], match: Callable[[E], bool] | None) -> E | None:
        """Hand an event out, if one is here."""
        for place, (_, event) in enumerate(self._letters):
            if isinstance(event, event_type) and (match is None or match(event)):
                del self._letters[place]
                return event
        return None

    async def expect(self, event_type: type[E], match: Callable[[E], bool] | None, within: timedelta | None) -> E:
        """Wait until one is here. Raises `NotInTime`."""
        found: list[E] = []

        def is_here() -> bool:
            event = self.take(event_type, match)
            if event is not None:
                found.append(event)
            return bool(found) or self.is_hurried

        if is_here():
            return _first(found, event_type, within)
        waits = f"`{event_type.event_name}`" + (f" until {workflow.now() + within:%Y-%m-%d %H:%M:%S}" if within else "")
        await self._table.wait(waits, is_here, within)
        return _first(found, event_type, within)

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """Name what came and was never waited for."""
        return tuple(f"{arrived.type} {arrived.id}" for arrived, _ in self._letters)


def _first(found: list[E], event_type: type[E], within: timedelta | None) -> E:
    if not found:  # nothing is waited for any more
        raise NotInTime(event_type.event_name, within)
    return found[0]
