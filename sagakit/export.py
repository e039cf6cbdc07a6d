"""Takes a part of production out: a stream, a conversation over all services, or what came after a position; masked."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sagakit
from sagakit.errors import InvalidInput
from sagakit.log import read_to_head
from sagakit.masking import Masking
from sagakit.messages import RecordedEvent
from sagakit.ports import FailedCommand
from sagakit.slices import Header, Slice
from sagakit.sql.log_queries import last_versions
from sagakit.system import OpenService, System


@dataclass(frozen=True)
class Asked:
    """What to take out: exactly one of the three, of one service or of all."""

    stream: str | None = None
    correlation: str | None = None
    after: int | None = None
    service: str | None = None

    def as_json(self) -> dict[str, str | int]:
        """Return what was given."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class _Found:
    """What was found in one service: the last wanted version of each stream, and the commands that failed."""

    opened: OpenService
    last: dict[str, int]
    failures: list[FailedCommand] = field(default_factory=list)


async def export(system: System, asked: Asked, mask: Collection[str] = ()) -> Slice:
    """Gather a slice, masked by what the messages declare and by the field names given.

    Raises `InvalidInput` when nothing is found, when a name to mask is nowhere, or when masking makes an event unreadable.
    """
    if sum(value is not None for value in (asked.stream, asked.correlation, asked.after)) != 1:
        raise InvalidInput("say what to export: one of --stream, --correlation and --after")
    found = [await _find(system, name, asked) for name in _services(system, asked)]
    logs: list[list[tuple[RecordedEvent, bool]]] = []
    failures: list[tuple[str, FailedCommand]] = []
    for part in found:
        failures += [(part.opened.service.name, failed) for failed in part.failures]
        logs.append([(event, _is_asked(event, asked)) for event in await _whole(part)])
    # Each log keeps its own order; between logs the time of recording decides.
    merged = list(heapq.merge(*logs, key=lambda pair: pair[0].recorded_at))
    if not merged and not failures:
        raise InvalidInput(f"there is nothing to export: no event and no failed command of {_what(asked)}")
    masking = Masking(system.services.registry, mask)
    events = [masking.event(number, event, earlier=not is_asked) for number, (event, is_asked) in enumerate(merged, 1)]
    failed = [
        masking.failure(service, each, [event for event, _ in merged if event.stream == each.stream])
        for service, each in sorted(failures, key=lambda pair: pair[1].recorded_at)
    ]
    if masking.unmet:
        raise InvalidInput(f"--mask {', '.join(masking.unmet)}: no event and no failed command of the slice has such a field")
    header = Header(
        made_by=f"sagakit {sagakit.__version__}",
        made_at=datetime.now(UTC),
        asked=asked.as_json(),
        masked=sorted(masking.masked),
        events=len(events),
        earlier=sum(event.earlier for event in events),
        failed_commands=len(failed),
    )
    return Slice(header, tuple(events), tuple(failed))


def _services(system: System, asked: Asked) -> list[str]:
    names = system.services.with_a_log(asked.service)
    if asked.stream is not None:
        owner = system.services.aggregate(asked.stream.partition("-")[0])[0].name
        if asked.service not in (None, owner):
            raise InvalidInput(f"--service {asked.service}: the stream {asked.stream} is one of {owner}")
        return [owner]
    if asked.after is not None and len(names) > 1:
        raise InvalidInput(f"each service counts its own positions: give --service with --after, one of {', '.join(names)}")
    return names


async def _find(system: System, name: str, asked: Asked) -> _Found:
    opened = await system.open(name)
    if asked.stream is not None:
        events = await opened.store.load(asked.stream)
        found = _Found(opened, {asked.stream: events[-1].version} if events else {})
        found.failures = await opened.failures.find(stream=asked.stream)
    elif asked.correlation is not None:
        found = _Found(opened, await last_versions(opened.tables, asked.correlation))
        found.failures = await opened.failures.find(correlation_id=asked.correlation)
    else:
        found = _Found(opened, {event.stream: event.version async for event in read_to_head(opened.store, asked.after or 0)})
        found.failures = [each for each in await opened.failures.find() if each.stream in found.last]
    for failed in found.failures:
        found.last[failed.stream] = max(failed.version, found.last.get(failed.stream, 0))
    return found


async def _whole(found: _Found) -> list[RecordedEvent]:
    """Load each touched stream from its first event to the last one wanted, in the order of the log."""
    events: list[RecordedEvent] = []
    for stream, last in found.last.items():
        events += [event for event in await found.opened.store.load(stream) if event.version <= last]
    return sorted(events, key=lambda event: event.position)


def _is_asked(event: RecordedEvent, asked: Asked) -> bool:
    if asked.correlation is not None:
        return event.metadata.correlation_id == asked.correlation
    return asked.after is None or event.position > asked.after


def _what(asked: Asked) -> str:
    if asked.stream is not None:
        return f"the stream {asked.stream}"
    return f"the correlation {asked.correlation}" if asked.correlation is not None else f"positions after {asked.after}"
