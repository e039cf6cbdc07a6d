"""`projections`: lists read models, and rebuilds one from the logs that feed it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.progress import Progress
from sqlmodel import col, func, select

from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stderr, stdout
from sagakit.cli.session import open_system, session_of
from sagakit.projection import Projection
from sagakit.rebuild import Rebuilt
from sagakit.rebuild import rebuild as build_anew
from sagakit.rebuild import resume as let_go_on
from sagakit.refeed import consumers_of
from sagakit.service import Service, projection_checkpoint
from sagakit.sql import pausing
from sagakit.sql.tables import CheckpointRow, ParkedRow
from sagakit.system import System

app = typer.Typer(help="Look at read models and rebuild them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The read model's name, like order_summary.")]


@app.command(name="list")
@runs
async def list_projections(context: typer.Context, as_json: AsJson = False) -> None:
    """List read models: their rows, how far they are behind their own service's log, what is parked, who holds them still."""
    session = session_of(context)
    async with open_system(session) as system:
        found = [
            await _standing(system, service, projection)
            for service in session.services.services
            for projection in service.projections
        ]
    if as_json:
        print_json(found)
        return
    columns = ("name", "service", "rows", "behind", "parked", "held_by")
    print_table(f"{len(found)} read models", columns, [[each[column] for column in columns] for each in found])


@app.command()
@runs
async def rebuild(
    context: typer.Context,
    name: Name,
    compare_only: Annotated[bool, typer.Option("--compare-only", help="Compare, and leave the read model as it is.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Differences are expected: exit code 0 all the same.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a read model anew from the logs that feed it; exit code 1 when rows differed from those before.

    It is held still meanwhile: queries read the rows of before, and events wait. Killed, it stays so: run it again.
    """
    session = session_of(context)
    async with open_system(session) as system:
        with Progress(console=stderr, transient=True) as bar:
            task = bar.add_task(f"rebuild {name}", total=None)
            done = await build_anew(
                system, name, lambda seen, total: bar.update(task, completed=seen, total=total), is_comparison=compare_only
            )
    if as_json:
        print_json(_as_json(done))
    else:
        _print(done)
    if done.comparison.different and not accept:
        raise typer.Exit(1)


@app.command()
@runs
async def resume(context: typer.Context, name: Name) -> None:
    """Let a read model go on that a killed rebuild left held still; its rows are those of before."""
    session = session_of(context)
    async with open_system(session) as system:
        was_held = await let_go_on(system, name)
    stdout.print(f"{name} goes on" if was_held else f"{name} was not held still")


async def _standing(system: System, service: Service, projection: type[Projection]) -> dict[str, Any]:
    opened = await system.open(service.name)
    consumers = consumers_of(system.services, service, projection)
    async with opened.tables.transaction() as session:
        rows = (await session.exec(select(func.count()).select_from(projection.table))).one()
        parked = select(func.count()).select_from(ParkedRow).where(col(ParkedRow.consumer).in_(consumers))
        parked_count = (await session.exec(parked)).one()
        checkpoint = select(CheckpointRow.position).where(CheckpointRow.name == projection_checkpoint(projection))
        position = (await session.exec(checkpoint)).first() or 0
        held_by = sorted(await pausing.holders(session, consumers))
    is_own = projection.name in consumers
    return {
        "name": projection.name,
        "service": service.name,
        "rows": rows,
        "behind": await opened.store.head() - position if is_own else None,
        "parked": parked_count,
        "held_by": held_by[0] if held_by else None,
    }


def _as_json(done: Rebuilt) -> dict[str, Any]:
    found = done.comparison
    named = [{"key": each.key, "what": each.what, "columns": each.columns} for each in found.named]
    figures = {"rows": done.rows, "equal": found.equal, "different": found.different, "parked": done.parked}
    document = {"projection": done.projection, **figures, "is_replaced": done.is_replaced, "differences": named}
    return to_jsonable_python(document)  # type: ignore[no-any-return]


def _print(done: Rebuilt) -> None:
    found = done.comparison
    if found.named:
        rows = [(_key(each.key), each.what, _columns(each.columns)) for each in found.named]
        print_table(f"{len(found.named)} of {found.different} rows that differed", ("key", "what", "before -> rebuilt"), rows)
    kept = "are the read model now" if done.is_replaced else "were compared, and thrown away"
    equal = f"{found.equal} rows were equal, {found.different} were not"
    stdout.print(f"{done.projection}: {done.rows} rows {kept}; {equal}; {done.parked} events parked", soft_wrap=True)


def _key(key: dict[str, Any]) -> str:
    return ", ".join(str(part) for part in key.values())


def _columns(columns: dict[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name}: {before} -> {after}" for name, (before, after) in columns.items())
