"""Who reads an event, handles or sends a command: aggregates, projections, sagas, reactions, schedules, each with its service."""

from __future__ import annotations

from typing import Any

from sagakit.mentions import mentioned
from sagakit.messages import Command
from sagakit.reactions import Reaction
from sagakit.saga import Saga
from sagakit.schedules import Schedule
from sagakit.service import Service, ServiceMap


class Reach:
    """Answers for one list of services."""

    def __init__(self, services: ServiceMap) -> None:
        """Take the list of services."""
        self._services = services
        self._sent: dict[type[Saga] | Reaction | Schedule, set[type[Command]]] = {}
        for service in services.services:
            for saga in service.sagas:
                self._sent[saga] = mentioned(Command, vars(saga).values())
            for reaction in service.reactions:
                self._sent[reaction] = mentioned(Command, [reaction.function])
            for schedule in service.schedules:
                self._sent[schedule] = mentioned(Command, [schedule.function])

    def of_event(self, name: str, version: int, old_service: str) -> tuple[str, ...]:
        """Name whoever reads any version of an event, or what this one is upcast into; else the service it was of."""
        registry = self._services.registry
        ends = registry.upcasting.ends((name, version))
        events = {event for key, event in registry.events.items() if key[0] == name or key in ends}
        return self._named(lambda known: bool(events & set(known)), lambda _: False) or _service(old_service)

    def of_command(self, name: str, old_service: str) -> tuple[str, ...]:
        """Name the aggregate that handles a command, and the sagas and reactions that name it; else the service it was of."""
        command = self._services.registry.commands.get(name)
        if command is None:
            return _service(old_service)
        found = self._named(lambda known: command in known, lambda sender: command in self._sent[sender])
        return found or _service(old_service)

    def _named(self, reads: Any, sends: Any) -> tuple[str, ...]:
        found: list[str] = []
        for service in self._services.services:
            found += [f"aggregate {a.category} ({service.name})" for a in _where(service, reads)]
            found += [f"projection {p.name} ({service.name})" for p in service.projections if reads(p.handlers)]
            found += [
                f"saga {s.saga_name} ({service.name})"
                for s in service.sagas
                if reads([s.starts_on, *s.expects, *s.asks]) or sends(s)
            ]
            found += [f"reaction {r.name} ({service.name})" for r in service.reactions if reads([r.event]) or sends(r)]
            found += [f"schedule {s.name} ({service.name})" for s in service.schedules if sends(s)]
        return tuple(found)


def _where(service: Service, reads: Any) -> list[Any]:
    return [a for a in service.aggregates if reads([*a.event_appliers, *a.command_handlers])]


def _service(name: str) -> tuple[str, ...]:
    return (f"service {name}",) if name else ()
