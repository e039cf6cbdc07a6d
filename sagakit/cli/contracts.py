"""`contracts check`, `lock`, `export` and `verify`: how events and commands change over the years."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from sagakit.asyncapi import export
from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import Session, open_system, session_of
from sagakit.contracts import Change, compare, contract_of, load_lock, merged, save_lock
from sagakit.errors import InvalidInput
from sagakit.postgres.store import PostgresEventStore
from sagakit.sqlite.store import SqliteEventStore
from sagakit.system import open_store
from sagakit.verification import verify

app = typer.Typer(help="Compare events and commands with what was agreed on, and stores with the code.", no_args_is_help=True)
LockFile = Annotated[Path, typer.Option("--lock-file", help="The committed lock.")]
_LOCK = Path("contracts.lock.json")


@app.command()
@runs
async def check(context: typer.Context, lock_file: LockFile = _LOCK, as_json: AsJson = False) -> None:
    """Compare the code with the lock; exit code 1 when something changed that is not locked."""
    changes = compare(load_lock(lock_file), session_of(context).services)
    _print(changes, as_json=as_json)
    if changes:
        raise typer.Exit(1)


@app.command()
@runs
async def lock(
    context: typer.Context,
    lock_file: LockFile = _LOCK,
    accept_breaking: Annotated[str, typer.Option(help="Lock what is not compatible too, and keep this reason.")] = "",
    as_json: AsJson = False,
) -> None:
    """Accept the code's events and commands into the lock; what is not compatible only with a reason."""
    services = session_of(context).services
    locked = load_lock(lock_file) if lock_file.exists() else None
    changes = compare(locked, services) if locked is not None else []
    hard = [change for change in changes if change.verdict != "compatible"]
    if hard and not accept_breaking.strip():
        named = "; ".join(f"{change.subject} ({change.verdict}): {change.detail}" for change in hard)
        raise InvalidInput(f"not locked: {named}. Or give a reason with --accept-breaking, when no store and no caller has it")
    accepted = [{"change": f"{c.subject}: {c.detail}", "reason": accept_breaking.strip()} for c in hard]
    save_lock(lock_file, merged(locked, contract_of(services), accepted))
    _print(changes, as_json=as_json)
    if not as_json:
        stdout.print(f"locked in {lock_file}")


@app.command(name="export")
@runs
async def export_schemas(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to write into; it is made when missing.")],
    lock_file: LockFile = _LOCK,
    as_json: AsJson = False,
) -> None:
    """Write an AsyncAPI document and a JSON Schema per event, for clients in other languages: see docs/messages.md."""
    locked = load_lock(lock_file) if lock_file.exists() else None
    written = export(session_of(context).services, locked, folder)
    if as_json:
        print_json([str(path) for path in written])
    else:
        stdout.print(f"{len(written)} documents written, first {written[0]}", soft_wrap=True)


@app.command(name="verify")
@runs
async def verify_stores(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    store: Annotated[str | None, typer.Option(help="One store instead: a SQLite file, or a postgresql:// URL.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every stored event through today's code; exit code 1 at the first that does not load, which is named."""
    session = session_of(context)
    results = [await verify(opened, session.services.registry) async for opened in _stores(session, service, store)]
    if as_json:
        print_json([result.as_json() for result in results])
    for result in results if not as_json else []:
        stdout.print(f"{result.service}: {result.read} events load, {result.upcast} of them through upcasters")
        if result.failure:
            stdout.print("the next one does not:")
            print_table("does not load", tuple(result.failure), [tuple(result.failure.values())])
    if any(result.failure for result in results):
        raise typer.Exit(1)


async def _stores(
    session: Session, service: str | None, store: str | None
) -> AsyncIterator[SqliteEventStore | PostgresEventStore]:
    if store is not None:
        async with open_store(store, service) as opened:
            yield opened
        return
    async with open_system(session) as system:
        for name in session.services.with_a_log(service):
            yield (await system.open(name)).store


def _print(changes: list[Change], *, as_json: bool) -> None:
    if as_json:
        print_json([change.as_json() for change in changes])
    elif changes:
        rows = [(c.subject, c.verdict, c.detail, ", ".join(c.reaches)) for c in changes]
        print_table(f"{len(changes)} changes that are not locked", ("what", "verdict", "why", "reaches"), rows)
    else:
        stdout.print("events and commands are as locked")
