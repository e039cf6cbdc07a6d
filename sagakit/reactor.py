"""Event to command: asks a reaction what follows, and has the service's own aggregates handle it."""

from __future__ import annotations

import structlog

from sagakit.hops import HopLimit
from sagakit.messages import Command, RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.reactions import Reaction
from sagakit.repository import Context, Repository
from sagakit.service import Service, ServiceMap
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.reactor")


class Reactor:
    """Runs one reaction; a `Consumer` calls it ahead of its inbox row, as often as it takes.

    Delivery: the keys of the commands absorb repeats, so each takes effect once. A refusal is an outcome. Ordering: the
    commands of one event one after the other, as returned.
    """

    def __init__(
        self, service: Service, reaction: Reaction, services: ServiceMap, repository: Repository, hops: HopLimit
    ) -> None:
        """Take the service whose aggregates handle the commands, the reaction, and how long a chain may become."""
        self._service, self._reaction, self._services = service, reaction, services
        self._repository, self._hops = repository, hops

    async def __call__(self, recorded: RecordedEvent) -> None:
        """Handle what follows from an event.

        Raises `InfrastructureError` when a command's fate is unknown; `TooManyHops`, `UnreadableEvent`, `InvalidInput` and
        whatever the reaction or a handler raises, for which the event is parked.
        """
        events = self._services.registry.decode_all(recorded)
        commands = list(self._reaction.commands_for(events, recorded))
        if commands:
            self._hops.require_room(recorded)
        for number, command in enumerate(commands):
            aggregate = self._services.handled_in(self._service, type(command), f"reaction {self._reaction.name}")
            context = Context(
                correlation_id=recorded.metadata.correlation_id,
                causation_id=str(recorded.id),
                actor=f"reaction {self._reaction.name}",
                key=f"{self._reaction.name}/{recorded.id}/{number}",
                hops=recorded.metadata.hops + 1,
            )
            outcome = await self._repository.handle(aggregate, command, context)
            self._note(command, outcome)

    def _note(self, command: Command, outcome: CommandOutcome) -> None:
        service, reaction = self._service.name, self._reaction.name
        count("sagakit.reactions", service=service, reaction=reaction, outcome=outcome.status)
        if outcome.status == "refused":
            code, name = outcome.code, command.command_name
            _log.info("refused", service=service, reaction=reaction, stream=outcome.stream, command=name, code=code)
