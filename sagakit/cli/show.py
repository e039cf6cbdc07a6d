"""`show`, `history` and `diff`: an aggregate now, at a version or at a time, and how it came there."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.pretty import Pretty

from sagakit.cli.messages import AsJson, event_json
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import open_system, session_of
from sagakit.cli.times import moment_of
from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.sql.log_queries import events_named
from sagakit.system import System
from sagakit.time_travel import diff as differences
from sagakit.time_travel import history as events_of
from sagakit.time_travel import state_at

Category = Annotated[str, typer.Argument(metavar="AGGREGATE", help="The aggregate's category, like order.")]
AggregateId = Annotated[str, typer.Argument(metavar="ID", help="Its id.")]


@runs
async def show(
    context: typer.Context,
    aggregate: Category,
    aggregate_id: AggregateId,
    version: Annotated[int | None, typer.Option(help="As it was at this version, from 1.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="As it was at a time, like 2010-12-01T08:26; without a zone it is UTC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show an aggregate's state, folded from its events, and those events; now, at a version or at a time."""
    if version is not None and at is not None:
        raise InvalidInput("--version or --at, not both")
    moment_at = None if at is None else moment_of("--at", at)
    session = session_of(context)
    service, aggregate_type = session.services.aggregate(aggregate)
    async with open_system(session) as system:
        opened = await system.open(service.name)
        moment = await state_at(opened.repository, aggregate_type, aggregate_id, version=version, at=moment_at)
    if as_json:
        print_json({"state": moment.state.model_dump(mode="json"), "events": [event_json(event) for event in moment.events]})
        return
    stdout.print(Pretty(moment.state))
    print_table(
        "its events",
        ("version", "type", "command", "actor", "recorded"),
        [(e.version, e.type, e.metadata.command, e.metadata.actor, e.recorded_at) for e in moment.events],
    )


@runs
async def history(context: typer.Context, aggregate: Category, aggregate_id: AggregateId, as_json: AsJson = False) -> None:
    """Tell of each event of an aggregate who caused it, what it says, when, and why: by which command, and what led to that."""
    session = session_of(context)
    service, aggregate_type = session.services.aggregate(aggregate)
    async with open_system(session) as system:
        events = await events_of((await system.open(service.name)).repository, aggregate_type, aggregate_id)
        causes = await _causes(system, events)
    told = [_told(event, cause) for event, cause in zip(events, causes, strict=True)]
    if as_json:
        print_json(told)
        return
    rows = [
        (t["version"], t["type"], _brief(t["fields"]), t["who"], t["when"], _why(t["command"], t["correlation"], t["cause"]))
        for t in told
    ]
    print_table(f"{aggregate} {aggregate_id}", ("version", "what", "its fields", "who", "when", "why"), rows)


async def _causes(system: System, events: list[RecordedEvent]) -> list[dict[str, Any]]:
    """Find what each causation id names: an event of some service, or the command's own key."""
    ids = {event_id for event in events if (event_id := _uuid(event.metadata.causation_id))}
    found: dict[str, dict[str, Any]] = {}
    for name in system.services.with_a_log() if ids else []:
        named = await events_named((await system.open(name)).tables, ids)
        found |= {event_id: {"service": name} | event for event_id, event in named.items()}
    return [_cause(event, found) for event in events]


def _cause(event: RecordedEvent, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    causation = event.metadata.causation_id
    if causation is None:
        return {"id": None, "kind": "none"}
    event_id = _uuid(causation)
    if event_id is not None and str(event_id) in found:
        return {"id": causation, "kind": "event"} | found[str(event_id)]
    return {"id": causation, "kind": "command key" if causation == event.metadata.command_key else "not found"}


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def _told(event: RecordedEvent, cause: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "fields": json.loads(event.data),
        "who": event.metadata.actor,
        "when": event.recorded_at.isoformat(),
        "command": event.metadata.command,
        "command_key": event.metadata.command_key,
        "correlation": event.metadata.correlation_id,
        "cause": cause,
    }


def _brief(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())


def _why(command: str | None, correlation: str, cause: dict[str, Any]) -> str:
    if cause["kind"] == "event":
        led = f"because of {cause['type']}, {cause['stream']} version {cause['version']} of {cause['service']}"
    elif cause["kind"] == "none":
        led = "sent from outside"
    else:
        led = f"because of {cause['id']} ({cause['kind']})"
    return f"{command or 'no command'}, {led}, in {correlation}"


@runs
async def diff(
    context: typer.Context,
    aggregate: Category,
    aggregate_id: AggregateId,
    before: Annotated[int, typer.Argument(metavar="FROM", help="A version; 0 is before the first event.")],
    after: Annotated[int, typer.Argument(metavar="TO", help="Another version.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions of an aggregate, field by field."""
    session = session_of(context)
    service, aggregate_type = session.services.aggregate(aggregate)
    async with open_system(session) as system:
        repository = (await system.open(service.name)).repository
        found = [change.as_json() for change in await differences(repository, aggregate_type, aggregate_id, before, after)]
    if as_json:
        print_json(found)
        return
    rows = [(c["path"], c["kind"], _value(c["before"]), _value(c["after"])) for c in found]
    print_table(f"{aggregate} {aggregate_id}: version {before} to {after}", ("field", "how", "before", "after"), rows)


def _value(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
