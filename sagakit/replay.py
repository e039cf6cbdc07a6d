"""Puts a slice of production into a fresh embedded store, with side effects off, and lets its failed commands fail again.

Nothing runs here but folding and deciding: no relay, no saga, no bus, no Temporal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sagakit.aggregate import Aggregate
from sagakit.errors import DomainError, InvalidInput, UnknownMessage, UnreadableEvent
from sagakit.failures import described
from sagakit.messages import Command
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.slices import Slice, SliceEvent, SliceFailure
from sagakit.sql.log_queries import write_anew
from sagakit.system import System
from sagakit.time_travel import Change, changes


@dataclass(frozen=True)
class Step:
    """One event, the state of its aggregate once it had happened, and what it changed; or what its applier raised."""

    event: SliceEvent
    state: Aggregate
    changed: list[Change]
    raised: str = ""


@dataclass(frozen=True)
class Attempt:
    """What a failed command did here: ``exception`` and ``text`` are of what it raised, empty when it raised nothing."""

    failed: SliceFailure
    exception: str
    text: str
    answer: str

    @property
    def is_reproduced(self) -> bool:
        """True when the same type of exception came with the same text."""
        return (self.exception, _unquoted(self.text)) == (self.failed.exception, _unquoted(self.failed.text))


def _unquoted(text: str) -> str:
    # Python chooses the quotes of a printed text by what is in it, and a pseudonym holds none.
    return text.replace("\\'", "'").replace('"', "'")


def check(part: Slice, services: ServiceMap, name: str) -> None:
    """Refuse a slice that the code cannot fold, before anything is written. Raises `InvalidInput`, naming the line."""
    for line, event in enumerate(part.events, 2):
        try:
            services.aggregate(event.stream.partition("-")[0])
            services.registry.decode_all(event.recorded())
        except (UnknownMessage, UnreadableEvent) as error:
            raise InvalidInput(f"{name}, line {line}: {error}") from None


def fresh_system(folder: Path, services: ServiceMap) -> System:
    """Make an embedded system in a folder. Raises `InvalidInput` for one that holds databases."""
    if databases := sorted(path.name for path in folder.glob("*.db")):
        raise InvalidInput(f"{folder} holds databases ({', '.join(databases)}): a replay goes into a fresh folder")
    return System(load_settings(data=folder, database="sqlite", bus="memory"), services)


async def fill(system: System, part: Slice, until: int | None = None) -> tuple[SliceEvent, ...]:
    """Write the slice's events, or the first ``until`` of them, with their ids, versions and times; positions are new."""
    events = part.events[:until]
    by_service: dict[str, list[SliceEvent]] = {}
    for event in events:
        owner, _ = system.services.aggregate(event.stream.partition("-")[0])
        by_service.setdefault(owner.name, []).append(event)
    for name, own in by_service.items():
        await write_anew((await system.open(name)).tables, [event.recorded() for event in own])
    return events


def steps(system: System, events: tuple[SliceEvent, ...]) -> Iterator[Step]:
    """Fold the events one by one, each into its own aggregate; behind one whose applier raises, its stream stays as it was."""
    states: dict[str, Aggregate] = {}
    raised: dict[str, str] = {}
    for event in events:
        recorded = event.recorded()
        _, kind = system.services.aggregate(event.stream.partition("-")[0])
        before = states.get(event.stream) or kind(id=recorded.aggregate_id)
        after = before.model_copy(deep=True)
        if event.stream not in raised:
            try:
                after.evolve(system.services.registry.decode_all(recorded), version=event.version)
            except Exception as error:  # noqa: BLE001 whatever an applier raises is to be seen
                name, text, _ = described(error)
                raised[event.stream], after = f"the applier of {event.type} raised {name}: {text}", before
        states[event.stream] = after
        yield Step(event, after, changes(before, after), raised.get(event.stream, ""))


async def try_again(system: System, failed: SliceFailure) -> Attempt:
    """Decide about a failed command against the state that it met, and note what it raises; nothing is written."""
    try:
        kind = system.services.registry.command_type(failed.command)
        command = kind.model_validate_json(json.dumps(failed.fields))
    except (UnknownMessage, ValidationError) as error:
        _, text, _ = described(error)
        return Attempt(failed, "", "", f"it is no command of this code any more: {text}")
    return await _decide(system, failed, command)


async def _decide(system: System, failed: SliceFailure, command: Command) -> Attempt:
    service, kind = system.services.owner_of(type(command))
    opened = await system.open(service.name)
    recorded = [event for event in await opened.store.load(failed.stream) if event.version <= failed.version]
    if (recorded[-1].version if recorded else 0) < failed.version:
        return Attempt(failed, "", "", f"the slice was stopped before version {failed.version} of {failed.stream}")
    try:
        events = opened.repository.fold(kind, command.aggregate_id, recorded).decide(command)
    except DomainError as refusal:
        return Attempt(failed, "", "", f"it is refused: {refusal}")
    except Exception as error:  # noqa: BLE001 whatever it raises is what is looked for
        name, text, _ = described(error)
        return Attempt(failed, name, text, f"{name}: {text}")
    return Attempt(failed, "", "", f"it is done: {', '.join(event.event_name for event in events) or 'nothing changed'}")
