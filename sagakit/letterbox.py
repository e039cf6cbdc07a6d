"""The events that reach a running saga: kept until it waits for them, each once, those of a stream in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar, cast

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit.carried import Entry
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

    def _place_of(self, event_type: type[E], match: Callable[[E], bool] | None) -> int | None:
        return next(
            (place for place, (_, e) in enumerate(self._letters) if isinstance(e, event_type) and (match is None or match(e))),
            None,
        )

    def take(self, event_type: type[E], match: Callable[[E], bool] | None) -> E | None:
        """Hand an event out, if one is here."""
        place = self._place_of(event_type, match)
        return None if place is None else cast("E", self._letters.pop(place)[1])

    def hand_over(self) -> tuple[tuple[Arrived, ...], tuple[str, ...]]:
        """Name what nobody has taken, and what came before, for the run that goes on."""
        return tuple(arrived for arrived, _ in self._letters), tuple(self._seen)

    def take_up(self, letters: Iterable[tuple[Arrived, Event | None]], seen: Iterable[str]) -> None:
        """Stand where an earlier run stood; what has reached this run already comes after it."""
        came, self._seen = self._letters, dict.fromkeys(seen)
        self._letters = [(arrived, event) for arrived, event in letters if event is not None]
        for arrived, event in came:
            self.put(arrived, event)

    async def expect(self, event_type: type[E], match: Callable[[E], bool] | None, within: timedelta | None, call: Entry) -> E:
        """Wait until one is here. Raises `NotInTime`."""
        call.until = call.until or (workflow.now() + within if within else None)
        waits = f"`{event_type.event_name}`" + (f" until {call.until:%Y-%m-%d %H:%M:%S}" if call.until else "")

        def is_here() -> bool:
            return self.is_hurried or self._place_of(event_type, match) is not None

        is_over = is_here()  # then there is nothing to wait for
        while True:
            if not is_over:
                await self._table.wait(waits, is_here, call.until)
            if (event := self.take(event_type, match)) is not None:
                return event
            if is_over or self.is_hurried or (call.until is not None and workflow.now() >= call.until):
                raise NotInTime(event_type.event_name, within)

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """Name what came and was never waited for."""
        return tuple(f"{arrived.type} {arrived.id}" for arrived, _ in self._letters)
