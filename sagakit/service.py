"""What a service is: aggregates, projections, sagas, reactions, activities and upcasters under a name.

`worker/services.py` holds yours, and names the services of other code bases whose events yours consume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sagakit.aggregate import Aggregate
from sagakit.errors import InvalidInput, UnknownMessage
from sagakit.mentions import mentioned
from sagakit.messages import Command, Event, Registry
from sagakit.ports import Subscription
from sagakit.projection import Projection
from sagakit.reactions import Reaction
from sagakit.saga import Saga
from sagakit.saga_journal import EventUnmatched, SagaDecided
from sagakit.schedules import Schedule
from sagakit.upcasting import Upcaster


@dataclass(frozen=True)
class Service:
    """One bounded context with a database of its own. No service reads another's tables.

    With ``fast_steps`` a saga that runs in the same process tries its commands there, before it has Temporal deliver them.
    """

    name: str
    aggregates: tuple[type[Aggregate], ...] = ()
    projections: tuple[type[Projection], ...] = ()
    sagas: tuple[type[Saga], ...] = ()
    reactions: tuple[Reaction, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    activities: tuple[Any, ...] = ()
    upcasters: tuple[Upcaster, ...] = ()
    fast_steps: bool = False

    @property
    def events(self) -> frozenset[type[Event]]:
        """The event types that its aggregates know, and the messages that its sagas send."""
        of_aggregates = frozenset(event for aggregate in self.aggregates for event in aggregate.event_appliers)
        return of_aggregates.union(*(saga.asks for saga in self.sagas))

    @property
    def commands(self) -> frozenset[type[Command]]:
        """The command types that its aggregates handle."""
        return frozenset(command for aggregate in self.aggregates for command in aggregate.command_handlers)


@dataclass(frozen=True)
class ForeignService:
    """A service that is no sagakit code: its events come over RabbitMQ, from its topic exchange ``<name>.events``.

    It has no database, no aggregates and no relay here. Its event classes say how its events are read: the stable name is the
    routing key, the schema version that of its messages.
    """

    name: str
    events: tuple[type[Event], ...] = ()


class ServiceMap:
    """All services of a system, and who owns what. Built once, in the composition root.

    ``services`` are those of this code base, each with a database; ``foreign`` the others.
    """

    def __init__(self, services: Sequence[Service | ForeignService]) -> None:
        """Refuse two services, or two owners of one thing, under the same name."""
        self.listed = tuple(services)
        self.services = tuple(service for service in services if isinstance(service, Service))
        self.foreign = tuple(service for service in services if isinstance(service, ForeignService))
        self._by_name = {service.name: service for service in self.services}
        if len({service.name for service in self.listed}) != len(self.listed):
            raise InvalidInput("two services share a name in the list of services")
        self.registry = Registry(
            chain((event for service in self.listed for event in service.events), [SagaDecided, EventUnmatched]),
            (command for service in self.services for command in service.commands),
            (upcaster for service in self.services for upcaster in service.upcasters),
        )
        self._event_owner: dict[type[Event], Service | ForeignService] = {}
        self._command_owner: dict[type[Command], tuple[Service, type[Aggregate]]] = {}
        categories: set[str] = set()
        for listed in self.listed:
            if not listed.name.isidentifier():
                raise InvalidInput(f"service {listed.name!r}: letters, digits and underscores only")
        for service in self.services:
            for aggregate in service.aggregates:
                if aggregate.category in categories:
                    raise InvalidInput(f"two aggregates share the category {aggregate.category!r}")
                categories.add(aggregate.category)
                self._note_commands(service, aggregate)
        for listed in self.listed:
            for event in listed.events:
                if (other := self._event_owner.setdefault(event, listed)) is not listed:
                    raise InvalidInput(f"two services record {event.event_name}: {other.name} and {listed.name}")
        self._check_readers()
        self._check_reactions()
        self._check_schedules()

    def _note_commands(self, service: Service, aggregate: type[Aggregate]) -> None:
        for command in aggregate.command_handlers:
            if command in self._command_owner:
                raise InvalidInput(f"two aggregates handle {command.command_name}")
            self._command_owner[command] = (service, aggregate)

    def _check_readers(self) -> None:
        for service in self.services:
            for saga in service.sagas:
                self._refuse_missed_versions(f"saga {saga.saga_name}", [saga.starts_on, *saga.expects])
            for projection in service.projections:
                self._refuse_missed_versions(f"projection {projection.name}", projection.handlers)
            for reaction in service.reactions:
                self._refuse_missed_versions(f"reaction {reaction.name}", [reaction.event])

    def _check_reactions(self) -> None:
        """Refuse two of one name in a service, and one whose code names a command of another service."""
        for service in self.services:
            if len({reaction.name for reaction in service.reactions}) != len(service.reactions):
                raise InvalidInput(f"two reactions of service {service.name} share a name")
            for reaction in service.reactions:
                self.producer_of(reaction.event)
                for command in mentioned(Command, [reaction.function]):
                    self.handled_in(service, command, f"reaction {reaction.name}")

    def _check_schedules(self) -> None:
        """Refuse two of one name in a service, and one whose code names a command of another service."""
        for service in self.services:
            if len({schedule.name for schedule in service.schedules}) != len(service.schedules):
                raise InvalidInput(f"two schedules of service {service.name} share a name")
            for schedule in service.schedules:
                for command in mentioned(Command, [schedule.function]):
                    self.handled_in(service, command, f"schedule {schedule.name}")

    def handled_in(self, service: Service, command: type[Command], who: str) -> type[Aggregate]:
        """Find the aggregate of this very service that handles a command. Raises `InvalidInput`, naming ``who`` sends it."""
        owner, aggregate = self._command_owner.get(command, (None, None))
        if aggregate is None or owner is not service:
            where = f"service {owner.name} handles" if owner else "nobody handles"
            raise InvalidInput(
                f"{who} of service {service.name} sends {command.command_name}, which {where}: a reaction's or a "
                "schedule's commands go to its own service. List it where the command is handled, or write a saga"
            )
        return aggregate

    def _refuse_missed_versions(self, who: str, wanted: Collection[type[Event]]) -> None:
        """Refuse a reader that would pass over other versions of the events it names, in silence."""
        for event in wanted:
            key = (event.event_name, event.schema_version)
            if key in self.registry.upcasting.steps:
                raise InvalidInput(
                    f"{who} waits for {key[0]} {key[1]}, which an upcaster reads as something newer: wait for that"
                )
            for (name, version), other in self.registry.events.items():
                if name == key[0] and other not in wanted and self.registry.is_read_as_stored(other):
                    raise InvalidInput(
                        f"{who} knows {key[0]} {key[1]}, but not {name} {version}, which the code reads too: "
                        "add an upcaster from one to the other, or a handler"
                    )

    def service(self, name: str) -> Service:
        """Find a service. Raises `InvalidInput` with the names there are."""
        if any(foreign.name == name for foreign in self.foreign):
            raise InvalidInput(f"service {name} is foreign: it has no log and runs nothing here")
        if name not in self._by_name:
            raise InvalidInput(f"there is no service {name!r}; known: {', '.join(self._by_name)}")
        return self._by_name[name]

    def with_a_log(self, only: str | None = None) -> list[str]:
        """Name the services that record events, or the one asked for. Raises `InvalidInput` for one that is unknown."""
        return [self.service(only).name] if only else [service.name for service in self.services if service.events]

    def owner_of(self, command: type[Command]) -> tuple[Service, type[Aggregate]]:
        """Find the service and aggregate that handle a command."""
        if command not in self._command_owner:
            raise UnknownMessage("command", command.command_name, [c.command_name for c in self._command_owner])
        return self._command_owner[command]

    def aggregate(self, category: str) -> tuple[Service, type[Aggregate]]:
        """Find an aggregate by its category."""
        for service in self.services:
            for aggregate in service.aggregates:
                if aggregate.category == category:
                    return service, aggregate
        raise UnknownMessage("aggregate", category, [a.category for s in self.services for a in s.aggregates])

    def projection(self, name: str) -> tuple[Service, type[Projection]]:
        """Find a read model by its name."""
        for service in self.services:
            for projection in service.projections:
                if projection.name == name:
                    return service, projection
        raise UnknownMessage("read model", name, [p.name for s in self.services for p in s.projections])

    def queue_of(self, command: str) -> str | None:
        """Name the Temporal task queue on which a command is served: its service's name."""
        for known, (service, _) in self._command_owner.items():
            if known.command_name == command:
                return service.name
        return None

    def place_of(self, command: str, aggregate_id: str) -> tuple[str, str] | None:
        """Name the service and the stream that a command goes to; None for one that nobody handles."""
        for known, (service, aggregate) in self._command_owner.items():
            if known.command_name == command:
                return service.name, aggregate.stream_of(aggregate_id)
        return None

    def queue_of_saga(self, workflow_type: str) -> str | None:
        """Name the Temporal task queue on which a saga is run: its service's name; None for one that nobody runs."""
        for service in self.services:
            if any(saga.__name__ == workflow_type for saga in service.sagas):
                return service.name
        return None

    def is_recorded_by_a_service(self, event: type[Event]) -> bool:
        """Tell whether an event is one of a service's, and not sagakit's own."""
        return event in self._event_owner

    def producer_of(self, event: type[Event]) -> Service | ForeignService:
        """Find the service that records an event: one of ours, whose aggregates apply it, or a foreign one."""
        if event not in self._event_owner:
            raise UnknownMessage("event", event.event_name, [e.event_name for e in self._event_owner])
        return self._event_owner[event]

    def subscriptions(self) -> list[Subscription]:
        """List who consumes what over the bus: sagas by their start event, reactions, projections by others' events."""
        wanted: list[Subscription] = []
        for service in self.services:
            for saga in service.sagas:
                wanted += self._grouped(saga_consumer(service, saga), [saga.starts_on, *saga.expects])
            for reaction in service.reactions:
                wanted += self._grouped(reaction_consumer(service, reaction), [reaction.event])
            for projection in service.projections:
                others = [event for event in projection.handlers if self.producer_of(event) is not service]
                wanted += self._grouped(projection_consumer(service, projection), others)
        return wanted

    def _grouped(self, consumer: str, events: Iterable[type[Event]]) -> list[Subscription]:
        by_producer: dict[str, set[str]] = {}
        for event in events:
            by_producer.setdefault(self.producer_of(event).name, set()).update(self.registry.stored_names([event]))
        return [Subscription(consumer, producer, frozenset(types)) for producer, types in by_producer.items()]


def saga_consumer(service: Service, saga: type[Saga]) -> str:
    """Name the consumer that starts a saga."""
    return f"{service.name}.saga.{saga.saga_name}"


def reaction_consumer(service: Service, reaction: Reaction) -> str:
    """Name the consumer that a reaction is."""
    return f"{service.name}.reaction.{reaction.name}"


def projection_checkpoint(projection: type[Projection]) -> str:
    """Name the checkpoint of a projection in its own service's log."""
    return f"projection {projection.name}"


def projection_consumer(service: Service, projection: type[Projection]) -> str:
    """Name the consumer that feeds a projection from other services."""
    return f"{service.name}.projection.{projection.name}"
