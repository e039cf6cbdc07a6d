"""What feeds a projection, for whoever feeds it again from the beginning: logs, merged by the time of recording."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from sagakit.errors import InvalidInput
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent, Registry
from sagakit.ports import EventStore
from sagakit.projection import Projection
from sagakit.service import Service, ServiceMap, projection_consumer
from sagakit.system import System


@dataclass
class Source:
    """A log that feeds the projection: its own service's by the checkpoint, another's by the inbox of its consumer.

    ``seen`` is the last position that was read. ``deferred`` are the streams that wait, each from a version on, since the
    read model has not handled that yet; ``deferred_after`` is the position behind which they begin.
    """

    store: EventStore
    consumer: str
    types: frozenset[str]
    is_own: bool
    seen: int = 0
    deferred: dict[str, int] = field(default_factory=dict)
    deferred_after: int | None = None

    def wants(self, event: RecordedEvent, registry: Registry) -> bool:
        """Tell whether the projection would be handed this event."""
        return event.type in self.types or (self.is_own and not registry.can_read(event))

    def defer(self, event: RecordedEvent) -> None:
        """Let the event wait, and with it what comes behind it in its stream."""
        self.deferred.setdefault(event.stream, event.version)
        if self.deferred_after is None:
            self.deferred_after = event.position - 1


def consumers_of(services: ServiceMap, service: Service, projection: type[Projection]) -> list[str]:
    """Name those under which a projection keeps what it handled and parked: of its own log, over the bus, or both."""
    own = {services.producer_of(event) is service for event in projection.handlers}
    return [projection.name] * (True in own) + [projection_consumer(service, projection)] * (False in own)


async def sources_of(system: System, service: Service, projection: type[Projection]) -> list[Source]:
    """Open the logs that feed a projection. Raises `InvalidInput` when one of them is a foreign service's, or none feeds it."""
    services = system.services
    if not projection.handlers:
        raise InvalidInput(f"{projection.name} handles no event: there is nothing to rebuild it from")
    types: dict[str, set[str]] = {}
    for event in projection.handlers:
        types.setdefault(services.producer_of(event).name, set()).update(services.registry.stored_names([event]))
    for foreign in services.foreign:
        if foreign.name in types:
            raise InvalidInput(f"{projection.name} is fed by {foreign.name}, a foreign service: its log is not here to be read")
    found: list[Source] = []
    for name, names in types.items():
        is_own = name == service.name
        consumer = projection.name if is_own else projection_consumer(service, projection)
        found.append(Source((await system.open(name)).store, consumer, frozenset(names), is_own))
    return found


async def by_time(
    sources: Sequence[Source], after: dict[str, int], own_end: int | None = None
) -> AsyncIterator[tuple[Source, RecordedEvent]]:
    """Read the logs to their heads, each behind its position in ``after``, one's own not past ``own_end``.

    Ordering: each log's own; between logs the time of recording, which is near to the order of cause and effect.
    """
    readers = [read_to_head(source.store, after.get(source.store.service, 0)) for source in sources]
    heads = [await anext(reader, None) for reader in readers]
    while True:
        waiting = [
            (event, place)
            for place, event in enumerate(heads)
            if event is not None and not (own_end is not None and sources[place].is_own and event.position > own_end)
        ]
        if not waiting:
            return
        event, place = min(waiting, key=lambda each: each[0].recorded_at)
        sources[place].seen = event.position
        yield sources[place], event
        heads[place] = await anext(readers[place], None)
