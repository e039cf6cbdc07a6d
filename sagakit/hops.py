"""How long a chain of reactions and sagas may become: an event at the limit is parked, with the circle it is part of.

Each reaction and each saga makes the events of its commands one hop older than the event that set it off (failures D18).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sagakit.aggregate import Aggregate
from sagakit.errors import TooManyHops
from sagakit.mentions import mentioned
from sagakit.messages import Command, Event, RecordedEvent
from sagakit.service import ServiceMap


class HopLimit:
    """The limit of one system, and what its code tells about circles."""

    def __init__(self, services: ServiceMap, limit: int) -> None:
        """Take the list of services and the highest number of hops that an event may have and still set something off."""
        self._services, self._limit = services, limit

    def require_room(self, recorded: RecordedEvent) -> None:
        """Do nothing while one more hop is allowed. Raises `TooManyHops`, which names the circle."""
        if recorded.metadata.hops >= self._limit:
            cycle = self.cycle_through(recorded.type)
            raise TooManyHops(self._limit, recorded.type, cycle, recorded.metadata.correlation_id)

    def cycle_through(self, event_type: str) -> tuple[str, ...]:
        """Find the shortest circle from an event type back to itself: events, and what they set off. Empty when none is seen."""
        waiting: deque[tuple[str, ...]] = deque([(event_type,)])
        seen = {event_type}
        while waiting:
            path = waiting.popleft()
            for who, follows in self._set_off_by(path[-1]):
                for name in sorted(follows):
                    if name == event_type:
                        return (*path, who, name)
                    if name not in seen:
                        seen.add(name)
                        waiting.append((*path, who, name))
        return ()

    def _set_off_by(self, event_type: str) -> Iterable[tuple[str, set[str]]]:
        for service in self._services.services:
            for reaction in service.reactions:
                if reaction.event.event_name == event_type:
                    yield f"reaction {reaction.name}", self._recorded_after(mentioned(Command, [reaction.function]))
            for saga in service.sagas:
                if saga.starts_on.event_name == event_type:
                    yield f"saga {saga.saga_name}", self._recorded_after(mentioned(Command, vars(saga).values()))

    def _recorded_after(self, commands: Iterable[type[Command]]) -> set[str]:
        known = [command for command in commands if command in self._services.registry.commands.values()]
        return {name for command in known for name in _events_of(self._services.owner_of(command)[1], command)}


def _events_of(aggregate: type[Aggregate], command: type[Command]) -> set[str]:
    """Name the events that a command's handler mentions; all of its aggregate's when it mentions none."""
    handler = vars(aggregate)[aggregate.command_handlers[command]]
    found = mentioned(Event, [handler]) or set(aggregate.event_appliers)
    return {event.event_name for event in found}
