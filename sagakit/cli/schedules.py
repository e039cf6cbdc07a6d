"""`sagas schedules`: what services do by the clock, how that stands on the Temporal server, and what people do about it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from sagakit.cli.deciding import Actor, Reason, stated
from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import open_system, session_of
from sagakit.cli.times import moment_of
from sagakit.errors import InvalidInput
from sagakit.saga_journal import Decision
from sagakit.schedules import id_of
from sagakit.service import Service
from sagakit.steps import Wish
from sagakit.temporal.journal import recording
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by
from sagakit.temporal.scheduling import Schedules

app = typer.Typer(help="What services do by the clock.")
Name = Annotated[str, typer.Argument(help="A schedule, as <service>.<schedule>.")]
_COLUMNS = ("schedule", "when", "next", "last", "ran", "missed", "skipped", "paused", "note")


@app.callback(invoke_without_command=True)
def schedules(
    context: typer.Context,
    service: Annotated[str | None, typer.Option(help="Only this service's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the schedules: how often, when next, when last, how many times each ran or came too late, whether it is paused."""
    if context.invoked_subcommand is None:
        _listed(context, service, as_json)


@runs
async def _listed(context: typer.Context, service: str | None, as_json: bool) -> None:  # noqa: FBT001 as the command takes it
    services = session_of(context).services
    wanted = [services.service(service)] if service else services.services
    server = await _schedules(context)
    rows: list[dict[str, Any]] = [
        {
            "schedule": f"{found.service}.{found.schedule}",
            "when": found.when,
            "next": [at.isoformat() for at in found.next],
            "last": [at.isoformat() for at in found.recent],
            "ran": found.ran_count,
            "missed": found.missed_count,
            "skipped": found.skipped_count,
            "paused": found.is_paused,
            "note": found.note,
        }
        for each in wanted
        async for found in server.standing(each)
    ]
    if as_json:
        print_json(rows)
        return
    shown = [row | {"next": "\n".join(row["next"]), "last": "".join(row["last"][-1:])} for row in rows]
    print_table(f"{len(rows)} schedules", _COLUMNS, [[row[column] for column in _COLUMNS] for row in shown])


@app.command()
@runs
async def pause(context: typer.Context, schedule: Name, reason: Reason = None, actor: Actor = None) -> None:
    """Let its times pass until it is resumed."""
    await _steered(context, schedule, "pause", actor, reason, Schedules.pause)


@app.command()
@runs
async def resume(context: typer.Context, schedule: Name, reason: Reason = None, actor: Actor = None) -> None:
    """Go on at the next of its times; `backfill` goes through those that passed."""
    await _steered(context, schedule, "resume", actor, reason, Schedules.resume)


@app.command()
@runs
async def trigger(context: typer.Context, schedule: Name, reason: Reason = None, actor: Actor = None) -> None:
    """Let the present moment be one of its times."""
    await _steered(context, schedule, "trigger", actor, reason, lambda server, service, name, _: server.trigger(service, name))


@app.command()
@runs
async def backfill(
    context: typer.Context,
    schedule: Name,
    start: Annotated[str, typer.Option("--from", help="The first time, like 2026-03-01 or 2026-03-01T06:00+01:00.")],
    end: Annotated[str, typer.Option("--to", help="The last time.")],
    reason: Reason = None,
    actor: Actor = None,
) -> None:
    """Go through its times of a span that has passed; what took effect then takes no second one."""
    service, name = _found(context, schedule)
    first, last = moment_of("--from", start), moment_of("--to", end)
    if not first <= last <= datetime.now(UTC):
        raise InvalidInput(f"from {first.isoformat()} to {last.isoformat()} is no span that has passed")
    wish, server = stated(actor, reason), await _schedules(context)
    await server.backfill(service, name, first, last)
    await _recorded(context, service, name, f"backfill {first.isoformat()} to {last.isoformat()}", wish)


async def _steered(
    context: typer.Context,
    schedule: str,
    action: str,
    actor: str | None,
    reason: str | None,
    steer: Callable[[Schedules, Service, str, Wish], Awaitable[None]],
) -> None:
    """Do to a schedule what a person wants, and record it."""
    service, name = _found(context, schedule)
    wish, server = stated(actor, reason), await _schedules(context)
    await steer(server, service, name, wish)
    await _recorded(context, service, name, action, wish)


def _found(context: typer.Context, schedule: str) -> tuple[Service, str]:
    service, _, name = schedule.partition(".")
    if not name:
        raise InvalidInput(f"{schedule!r} names no schedule: expected <service>.<schedule>; `sagas schedules` lists them")
    return session_of(context).services.service(service), name


async def _schedules(context: typer.Context) -> Schedules:
    settings = session_of(context).settings
    return Schedules(await connect_by(settings, require(settings).address))


async def _recorded(context: typer.Context, service: Service, name: str, action: str, wish: Wish) -> None:
    """Put who did it, and why, into the log of the service, beside what people decided about its sagas."""
    about = id_of(service.name, name)
    decision = Decision(
        saga=about,
        run_id=uuid.uuid4().hex,
        number=1,
        action=action,
        about=f"schedule {name}",
        actor=wish.actor,
        reason=wish.reason,
        correlation_id=about,
    )
    async with open_system(session_of(context)) as system:
        await recording((await system.open(service.name)).store)(decision)
    stdout.print(f"{service.name}.{name}: {action}", markup=False, soft_wrap=True)
