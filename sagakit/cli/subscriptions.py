"""`subscriptions`: who is owed which events; for consumers of another code base, recorded while everything runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlmodel import col, select

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import Session, open_system, session_of
from sagakit.errors import InvalidInput
from sagakit.ports import Subscription
from sagakit.sql import subscriptions as recorded
from sagakit.sql.tables import CheckpointRow, SubscriptionRow
from sagakit.system import OpenService, System

_LONGEST_NAME = 100
app = typer.Typer(no_args_is_help=True, help="Who is owed which events of which service.")
Name = Annotated[str, typer.Argument(help="The consumer, which is its queue's name too.")]
Types = Annotated[str | None, typer.Option(metavar="A,B", help="The event types, separated by commas.")]
Partitions = Annotated[int | None, typer.Option(min=1, max=64, help="Queues that its streams are spread over.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Waiting messages above which it is left alone until it has caught up.")]
Producer = Annotated[str | None, typer.Option(help="The producing service; needed when the consumer has several.")]


@app.command(name="list")
@runs
async def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List them, with where each stands; it only looks."""
    session, rows = session_of(context), []
    async with open_system(session) as system:
        for service in session.services.with_a_log():
            async with system.look(service) as opened:
                if opened is not None:
                    rows += await _standing(session, opened)
    if as_json:
        print_json(rows)
    else:
        columns = ("consumer", "service", "types", "partitions", "limit", "behind", "state")
        print_table("subscriptions", columns, [[_cell(row[name]) for name in columns] for row in rows])


def _cell(value: Any) -> object:
    return ", ".join(value) if isinstance(value, list) else value


async def _standing(session: Session, opened: OpenService) -> list[dict[str, Any]]:
    service = opened.service.name
    async with opened.tables.transaction() as transaction:
        rows = await recorded.recorded(transaction)
        found = select(CheckpointRow.name, CheckpointRow.position).where(col(CheckpointRow.name).startswith("subscription "))
        positions: dict[str, int] = dict((await transaction.exec(found)).all())
    head = await opened.store.head()
    return [
        {
            "consumer": row.consumer,
            "service": service,
            "types": row.event_types,
            "partitions": row.partitions,
            "limit": row.backlog_limit,
            "position": (position := positions.get(recorded.checkpoint_of(row.consumer), 0)),
            "behind": max(0, head - position),
            "state": state_of(row, is_declared=_is_declared(session, row.consumer, service)),
        }
        for row in rows
    ]


def state_of(row: SubscriptionRow, *, is_declared: bool) -> str:
    """Say in words how a subscription stands."""
    parts = ["of another code base"] if row.is_external else [] if is_declared else ["no longer declared: remove it"]
    if row.detached_at is not None:
        parts.append(f"left alone behind position {row.detached_at}: too much waits for it")
    if row.trouble:
        parts.append(row.trouble)
    return "; ".join(parts) or "fed"


def _is_declared(session: Session, consumer: str, service: str) -> bool:
    return any(each.consumer == consumer and each.producer == service for each in session.services.subscriptions())


@app.command()
@runs
async def add(
    context: typer.Context,
    name: Name,
    service: Annotated[str, typer.Option(help="The producing service.")],
    types: Annotated[str, typer.Option(metavar="A,B", help="The event types, separated by commas.")],
    begin: Annotated[str, typer.Option("--from", help="beginning, now, or a position of the service's log.")] = "beginning",
    partitions: Partitions = 1,
    backlog_limit: Limit = 10_000,
) -> None:
    """Record a consumer of another code base: a running relay feeds it within seconds, from the begin of the log or later.

    What is appended after this command ends counts as after *now*.
    """
    session = session_of(context)
    wanted = _types(session, service, types)
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise InvalidInput("a consumer's name has 1 to 100 characters")
    if any(each.consumer == name for each in session.services.subscriptions()):
        raise InvalidInput(f"{name} is declared by the list of services; it needs no recording")
    async with open_system(session) as system:
        opened = await system.open(service)
        position = await _position(opened, begin)
        async with opened.tables.transaction() as transaction:
            if any(row.consumer == name for row in await recorded.recorded(transaction)):
                raise InvalidInput(f"{name} is recorded already: `subscriptions set` changes it, `subscriptions remove` ends it")
            subscription = Subscription(name, service, wanted, partitions or 1, backlog_limit or 10_000)
            await recorded.record(transaction, subscription, is_external=True)
            await recorded.begin_at(transaction, name, position)
    stdout.print(f"{name} is owed {', '.join(sorted(wanted))} of {service} behind position {position}.", soft_wrap=True)


def _types(session: Session, service: str, types: str) -> frozenset[str]:
    known = session.services.registry.stored_names(session.services.service(service).events)
    wanted = frozenset(part.strip() for part in types.split(",") if part.strip())
    if not wanted:
        raise InvalidInput("--types names no event type")
    if unknown := wanted - known:
        raise InvalidInput(
            f"service {service} records no {', '.join(sorted(unknown))}; known: {', '.join(sorted(known)) or 'none'}"
        )
    return wanted


async def _position(opened: OpenService, begin: str) -> int:
    head = await opened.store.head()
    if begin == "beginning":
        return 0
    if begin == "now":
        return head
    if not begin.isascii() or not begin.isdigit() or int(begin) > head:
        raise InvalidInput(f"--from {begin}: expected beginning, now, or a position from 0 to {head}")
    return int(begin)


@app.command(name="set")
@runs
async def change(
    context: typer.Context,
    name: Name,
    service: Producer = None,
    types: Types = None,
    partitions: Partitions = None,
    backlog_limit: Limit = None,
) -> None:
    """Change what a consumer of another code base is owed; it takes effect within seconds."""
    session = session_of(context)
    if types is None and partitions is None and backlog_limit is None:
        raise InvalidInput("nothing to change: give --types, --partitions or --backlog-limit")
    async with open_system(session) as system:
        opened, row = await _find(session, system, name, service)
        producer = opened.service.name
        if not row.is_external:
            raise InvalidInput(f"{name} is declared by the list of services: change it there")
        old = recorded.of_row(row, producer)
        wanted = old.event_types if types is None else _types(session, producer, types)
        new = Subscription(name, producer, wanted, partitions or old.partitions, backlog_limit or old.backlog_limit)
        async with opened.tables.transaction() as transaction:
            await recorded.record(transaction, new, is_external=True)
    stdout.print(f"{name}: {', '.join(sorted(wanted))} of {producer}, {new.partitions} partitions, limit {new.backlog_limit}.")


@app.command()
@runs
async def remove(context: typer.Context, name: Name, service: Producer = None) -> None:
    """Owe a consumer nothing any more. Its queues and what waits in them stay; one that services declare is refused."""
    session = session_of(context)
    async with open_system(session) as system:
        opened, _ = await _find(session, system, name, service)
        if _is_declared(session, name, opened.service.name):
            raise InvalidInput(f"{name} is declared by the list of services and would be recorded again: remove it there first")
        async with opened.tables.transaction() as transaction:
            await recorded.remove(transaction, name)
    stdout.print(
        f"{name} is owed nothing of {opened.service.name} any more; its queues, if it has any, are left.", soft_wrap=True
    )


async def _find(session: Session, system: System, name: str, service: str | None) -> tuple[OpenService, SubscriptionRow]:
    found = []
    for producer in session.services.with_a_log(service):
        opened = await system.open(producer)
        async with opened.tables.transaction() as transaction:
            found += [(opened, row) for row in await recorded.recorded(transaction) if row.consumer == name]
    if not found:
        raise InvalidInput(f"no subscription {name}{f' of {service}' if service else ''}: `subscriptions list` shows them")
    if len(found) > 1:
        producers = ", ".join(opened.service.name for opened, _ in found)
        raise InvalidInput(f"{name} is recorded in several services, {producers}: say which with --service")
    return found[0]
