"""`parked`: what consumers could not handle, and what a person does about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.cli.deciding import Actor, Reason, stated
from sagakit.cli.messages import AsJson, json_object
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import Session, open_system, session_of
from sagakit.errors import InvalidInput
from sagakit.sql import parked_actions
from sagakit.sql.tables import ParkedRow, RefusedRow
from sagakit.system import System

app = typer.Typer(help="What consumers could not handle: look at it, and decide.", no_args_is_help=True)

Consumer = Annotated[str, typer.Argument(help="The consumer, like orders.saga.order-fulfilment; `parked list` names them.")]
EventId = Annotated[str, typer.Argument(help="The event's id.")]
OfConsumer = Annotated[str | None, typer.Option("--consumer", help="Only this consumer.")]
OfService = Annotated[str | None, typer.Option("--service", help="Only this service's database.")]


@app.callback()
def parked() -> None:
    """Look at what consumers could not handle, and decide."""


@app.command(name="list")
@runs
async def list_parked(
    context: typer.Context, consumer: OfConsumer = None, service: OfService = None, as_json: AsJson = False
) -> None:
    """List the streams that wait: the event at their head, how many wait behind it, attempts, why, since when."""
    rows: list[dict[str, Any]] = []
    session = session_of(context)
    async with open_system(session) as system:
        for name in _names(session, service):
            async with _look(system, name) as database:
                if database is not None:
                    rows += [
                        {"service": name} | asdict(found) for found in await parked_actions.waiting_streams(database, consumer)
                    ]
    if as_json:
        print_json(rows)
        return
    columns = ("service", "consumer", "stream", "version", "event_id", "state", "behind", "attempts", "since", "reason")
    print_table(f"{len(rows)} streams wait", columns, [[row[column] for column in columns] for row in rows])


@app.command()
@runs
async def show(
    context: typer.Context, consumer: Consumer, event_id: EventId, service: OfService = None, as_json: AsJson = False
) -> None:
    """Show one event that waits, whole, and what was done with it."""
    async with _at(session_of(context), consumer, event_id, service) as (database, row):
        done = await parked_actions.actions_on(database, consumer, event_id)
        told = row.model_dump() | {
            "message": json.loads(row.message),
            "original": None if row.original is None else json.loads(row.original),
            "actions": [action.model_dump(include={"action", "actor", "reason", "at"}) for action in done],
        }
    if as_json:
        print_json(told)
    else:
        shown = {name: value if isinstance(value, str) else json.dumps(value, default=str) for name, value in told.items()}
        print_table(f"{row.stream} version {row.version}", ("what", "is"), list(shown.items()))


@app.command()
@runs
async def retry(
    context: typer.Context,
    consumer: Consumer,
    event_id: EventId,
    reason: Reason = None,
    actor: Actor = None,
    service: OfService = None,
) -> None:
    """Make an event due now, with all its attempts anew; the running consumer does the work, and the later ones follow."""
    action = _action(actor, reason)
    async with _at(session_of(context), consumer, event_id, service) as (database, row):
        await parked_actions.retry(database, row, action)
    stdout.print(f"{row.stream} version {row.version} is due now at {consumer}", markup=False, soft_wrap=True)


@app.command(name="retry-all")
@runs
async def retry_all(
    context: typer.Context, reason: Reason = None, consumer: OfConsumer = None, actor: Actor = None, service: OfService = None
) -> None:
    """Make every parked event due now."""
    session, action, total = session_of(context), _action(actor, reason), 0
    async with open_system(session) as system:
        for name in _names(session, service):
            async with _look(system, name) as database:
                if database is not None:
                    total += await parked_actions.retry_all(database, consumer, action)
    stdout.print(f"{total} parked events are due now")


@app.command()
@runs
async def edit(
    context: typer.Context,
    consumer: Consumer,
    event_id: EventId,
    data: Annotated[str, typer.Option(help="What the event is to say, as a JSON object.")],
    reason: Reason = None,
    actor: Actor = None,
    service: OfService = None,
) -> None:
    """Change what an event says at this consumer alone, never in the log; the message as it came is kept. Then `retry` it."""
    session, action, fields = session_of(context), _action(actor, reason), json_object(data)
    async with _at(session, consumer, event_id, service) as (database, row):
        await parked_actions.edit(database, row, fields, session.services.registry, action)
    stdout.print(f"{row.stream} version {row.version} is changed at {consumer}; `parked retry` it", markup=False, soft_wrap=True)


@app.command()
@runs
async def drop(
    context: typer.Context,
    consumer: Consumer,
    event_id: EventId,
    reason: Reason = None,
    actor: Actor = None,
    service: OfService = None,
) -> None:
    """Count an event as handled without its effect, also for every replay; the later ones of its stream go on."""
    action = _action(actor, reason)
    async with _at(session_of(context), consumer, event_id, service) as (database, row):
        await parked_actions.drop(database, row, action)
    stdout.print(f"{row.stream} version {row.version} is dropped at {consumer}", markup=False, soft_wrap=True)


@app.command()
@runs
async def refused(
    context: typer.Context,
    refused_id: Annotated[str | None, typer.Argument(help="One of them, to be shown whole.")] = None,
    consumer: OfConsumer = None,
    service: OfService = None,
    as_json: AsJson = False,
) -> None:
    """List the messages that were no events, the newest first, or show one."""
    session = session_of(context)
    found: list[dict[str, Any]] = []
    statement = select(RefusedRow).order_by(col(RefusedRow.refused_at).desc())
    statement = statement if consumer is None else statement.where(RefusedRow.consumer == consumer)
    statement = statement if refused_id is None else statement.where(RefusedRow.id == refused_id)
    async with open_system(session) as system:
        for name in _names(session, service):
            async with _look(system, name) as database:
                rows = [] if database is None else (await database.exec(statement)).all()
                found += [{"service": name} | row.model_dump() for row in rows]
    if refused_id is not None and not found:
        raise InvalidInput(f"no message was refused under the id {refused_id!r}: `parked refused` lists them")
    if as_json:
        print_json(found)
    elif refused_id is not None:
        print_table("refused", ("what", "is"), [(name, value) for row in found for name, value in row.items()])
    else:
        columns = ("id", "consumer", "message_id", "size", "refused_at", "reason")
        print_table(f"{len(found)} refused", columns, [[row[column] for column in columns] for row in found])


def _names(session: Session, service: str | None) -> list[str]:
    if service is not None:
        return [session.services.service(service).name]
    return [found.name for found in session.services.services]


def _action(actor: str | None, reason: str | None) -> parked_actions.Action:
    wish = stated(actor, reason)
    return parked_actions.Action(wish.actor, wish.reason)


@asynccontextmanager
async def _look(system: System, name: str) -> AsyncIterator[AsyncSession | None]:
    """Open a transaction on a service's database as it stands; None when there is none yet."""
    async with system.look(name) as opened:
        if opened is None:
            yield None
            return
        async with opened.tables.transaction() as database:
            yield database


@asynccontextmanager
async def _at(
    session: Session, consumer: str, event_id: str, service: str | None
) -> AsyncIterator[tuple[AsyncSession, ParkedRow]]:
    """Find an event that waits, and hold it for the block. Raises `InvalidInput`, saying who and what waits."""
    async with open_system(session) as system:
        known: set[str] = set()
        for name in _names(session, service):
            async with _look(system, name) as database:
                if database is None:
                    continue
                row = await parked_actions.find(database, consumer, event_id)
                if row is not None:
                    yield database, row
                    return
                known |= set((await database.exec(select(ParkedRow.consumer).distinct())).all())
    if consumer not in known:
        raise InvalidInput(f"nothing waits at a consumer {consumer!r}; it does at: {', '.join(sorted(known)) or 'none'}")
    raise InvalidInput(f"no event {event_id!r} waits at {consumer}: handled meanwhile, or never there; see `parked list`")
