"""`send` and `events`: commands in, and what has happened out."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import open_system, session_of, traced
from sagakit.errors import InvalidInput
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.repository import Context
from sagakit.saga_journal import CATEGORY

_MAX_JSON = 256 * 1024
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def json_object(text: str) -> dict[str, Any]:
    """Read what was given as ``--data``. Raises `InvalidInput`."""
    if len(text) > _MAX_JSON:
        raise InvalidInput("--data is over 256 KiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"--data is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidInput("--data is not a JSON object")
    return data


@runs
async def send(
    context: typer.Context,
    command: Annotated[str, typer.Argument(help="The command's name, like place_order.")],
    aggregate_id: Annotated[str, typer.Argument(help="The id of the aggregate it goes to.")],
    data: Annotated[str, typer.Option(help="Its other fields, as a JSON object.")] = "{}",
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key again has no second effect.")] = None,
    actor: Annotated[str, typer.Option(help="Who sends it; kept with the events.")] = "cli",
    as_json: AsJson = False,
) -> None:
    """Send one command and print its outcome: the events, or why the business refuses it (exit code 3)."""
    session = session_of(context)
    command_type = session.services.registry.command_type(command)
    fields = json_object(data)
    if fields.get(command_type.id_field, aggregate_id) != aggregate_id:
        raise InvalidInput(f"--data names another {command_type.id_field} than {aggregate_id!r}")
    try:
        message = command_type.model_validate_json(json.dumps(fields | {command_type.id_field: aggregate_id}))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False, include_input=False)
        )
        raise InvalidInput(f"{command} does not fit: {problems}") from None
    async with traced(session, "send"), open_system(session) as system:
        outcome = await system.send(message, Context(key=key, actor=actor, correlation_id=f"{command}/{aggregate_id}"))
    if as_json:
        print_json(outcome.model_dump())
    elif outcome.status == "done":
        stdout.print(f"{outcome.stream}: {', '.join(outcome.events) or 'nothing changed'} (version {outcome.version})")
    else:
        stdout.print(f"{outcome.stream}: refused, {outcome.code}: {outcome.reason}")
    if outcome.status != "done":
        raise typer.Exit(3)


def event_json(event: RecordedEvent) -> dict[str, Any]:
    """Return an event as plain JSON values, its data among them."""
    return event.as_json() | {"data": json.loads(event.data)}


@runs
async def events(
    context: typer.Context,
    stream: Annotated[str | None, typer.Option(help="Only this stream, like order-536365.")] = None,
    after: Annotated[int, typer.Option(help="Only behind this position (each service counts its own).")] = 0,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the event log: what has happened, in the order of each service's log."""
    session = session_of(context)
    services = session.services
    category = None if stream is None else stream.partition("-")[0]
    is_of_one = category not in (None, CATEGORY)  # a saga's own stream is in the log of its service, whichever that is
    names = [services.aggregate(str(category))[0].name] if is_of_one else services.with_a_log(service)
    found: list[RecordedEvent] = []
    async with open_system(session) as system:
        for name in names:
            store = (await system.open(name)).store
            if stream is not None:
                found += [event for event in await store.load(stream) if event.position > after]
                continue
            found += [event async for event in read_to_head(store, after)]
    if as_json:
        print_json([event_json(event) for event in found])
    else:
        columns = ("service", "position", "stream", "version", "type", "correlation", "recorded")
        rows = [(e.service, e.position, e.stream, e.version, e.type, e.metadata.correlation_id, e.recorded_at) for e in found]
        print_table("events", columns, rows)
