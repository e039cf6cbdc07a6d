"""`send`, `events`, `show` and `query`: commands in, and what is known out."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.pretty import Pretty
from sqlmodel import col, select

from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import open_system, session_of, traced
from sagakit.errors import InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.repository import Context

_PAGE = 500
_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "like")
_MAX_JSON = 256 * 1024
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def _data(text: str) -> dict[str, Any]:
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
    fields = _data(data)
    if fields.get(command_type.id_field, aggregate_id) != aggregate_id:
        raise InvalidInput(f"--data names another {command_type.id_field} than {aggregate_id!r}")
    try:
        message = command_type.model_validate_json(json.dumps(fields | {command_type.id_field: aggregate_id}))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False, include_input=False))
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


def _event_json(event: RecordedEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"data"}) | {"data": json.loads(event.data)}


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
    names = [service] if service else [s.name for s in session.services.services if s.aggregates]
    if stream is not None:
        names = [session.services.aggregate(stream.partition("-")[0])[0].name]
    found: list[RecordedEvent] = []
    async with open_system(session) as system:
        for name in names:
            store = (await system.open(name)).store
            if stream is not None:
                found += [event for event in await store.load(stream) if event.position > after]
                continue
            reader = store.reader(after)
            while page := await reader.read(_PAGE):
                found += page
    if as_json:
        print_json([_event_json(event) for event in found])
    else:
        columns = ("service", "position", "stream", "version", "type", "correlation", "recorded")
        rows = [(e.service, e.position, e.stream, e.version, e.type, e.metadata.correlation_id, e.recorded_at) for e in found]
        print_table("events", columns, rows)


@runs
async def show(
    context: typer.Context,
    aggregate: Annotated[str, typer.Argument(help="The aggregate's category, like order.")],
    aggregate_id: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
) -> None:
    """Show an aggregate's state, folded from its events, and those events."""
    session = session_of(context)
    service, aggregate_type = session.services.aggregate(aggregate)
    async with open_system(session) as system:
        opened = await system.open(service.name)
        recorded = await opened.store.load(aggregate_type.stream_of(aggregate_id))
        state = opened.repository.fold(aggregate_type, aggregate_id, recorded)
    if not recorded:
        raise InvalidInput(f"there is no {aggregate} {aggregate_id!r}")
    if as_json:
        print_json({"state": state.model_dump(mode="json"), "events": [_event_json(event) for event in recorded]})
        return
    stdout.print(Pretty(state))
    print_table("its events", ("version", "type", "command", "actor", "recorded"), [
        (e.version, e.type, e.metadata.command, e.metadata.actor, e.recorded_at) for e in recorded
    ])


@runs
async def query(
    context: typer.Context,
    read_model: Annotated[str, typer.Argument(help="The read model's name, like order_summary.")],
    where: Annotated[
        list[tuple[str, str, str]] | None, typer.Option(help=f"COLUMN OP VALUE; OP is one of {', '.join(_OPERATORS)}; repeat it for and.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Query a read model."""
    session = session_of(context)
    service, projection = session.services.projection(read_model)
    table = projection.table
    statement = select(table)
    for column, operator, value in where or []:
        if column not in table.model_fields:
            raise InvalidInput(f"{read_model} has no column {column!r}; it has {', '.join(table.model_fields)}")
        if operator not in _OPERATORS:
            raise InvalidInput(f"{operator!r} is no operator; known: {', '.join(_OPERATORS)}")
        attribute = col(getattr(table, column))
        if operator == "like":
            statement = statement.where(attribute.like(value))
            continue
        try:
            wanted = TypeAdapter(table.model_fields[column].annotation).validate_python(value)
        except ValidationError as error:
            raise InvalidInput(f"--where {column} {operator} {value}: {error.errors()[0]['msg']}") from None
        comparison = f"__{operator}__"
        statement = statement.where(getattr(attribute, comparison)(wanted))
    async with open_system(session) as system:
        opened = await system.open(service.name)
        async with opened.tables.transaction() as database:
            rows = [row.model_dump(mode="json") for row in (await database.exec(statement)).all()]
    if as_json:
        print_json(rows)
    else:
        print_table(f"{read_model}: {len(rows)} rows", list(table.model_fields), [list(row.values()) for row in rows])
