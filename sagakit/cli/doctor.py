"""`doctor`: says whether everything is there, and whether everything keeps up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer
from sqlmodel import col, select

from sagakit.cli.output import print_json, print_table, runs
from sagakit.cli.session import open_system, session_of
from sagakit.errors import InfrastructureError, LogWentBack
from sagakit.postgres.horizon import TOO_OLD_SECONDS, oldest_writer
from sagakit.postgres.store import PostgresEventStore
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.sql import parked_actions
from sagakit.sql.subscriptions import recorded
from sagakit.sql.tables import CheckpointRow, ConsumerRow
from sagakit.system import OpenService, System
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by

Check = tuple[str, str, str]


@runs
async def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")] = False,
) -> None:
    """Check databases, bus and Temporal, what waits in each log, and what is parked; exit code 1 when something is wrong.

    It only looks: no database, table or folder is made.
    """
    session = session_of(context)
    checks: list[Check] = []
    declared = {each.consumer for each in session.services.subscriptions()}
    async with open_system(session) as system:
        for service in session.services.services:
            checks += await _service(system, service.name, declared)
    settings = session.settings
    if settings.is_embedded_bus:
        checks.append(("bus", "ok", "in process"))
    else:
        bus = RabbitBus(settings.bus, settings.publish_seconds, settings.prefetch)
        try:
            await bus.open()
            checks.append(("bus", "ok", "RabbitMQ answers"))
        except InfrastructureError as error:
            checks.append(("bus", "wrong", str(error)))
        finally:
            await bus.close()
    try:
        location = require(settings)
        await connect_by(settings, location.address)
        checks.append(("temporal", "ok", location.address + (f", UI {location.ui}" if location.ui else "")))
    except InfrastructureError as error:
        checks.append(("temporal", "wrong", str(error)))
    if as_json:
        print_json([dict(zip(("part", "state", "detail"), check, strict=True)) for check in checks])
    else:
        print_table("doctor", ("part", "state", "detail"), checks)
    if any(state == "wrong" for _, state, _ in checks):
        raise typer.Exit(1)


async def _service(system: System, name: str, declared: Collection[str] | None = None) -> list[Check]:
    try:
        async with system.look(name) as opened:
            if opened is None:
                return [(name, "ok", "no database yet: the first start or send makes it")]
            return await _standing(opened, declared)
    except InfrastructureError as error:
        return [(name, "wrong", str(error))]


async def _standing(opened: OpenService, declared: Collection[str] | None) -> list[Check]:
    name = opened.service.name
    async with opened.tables.transaction() as session:
        subscriptions = await recorded(session)
        checkpoints = (await session.exec(select(CheckpointRow))).all()
        held = (await session.exec(select(ConsumerRow).where(col(ConsumerRow.paused_by).is_not(None)))).all()
        aside = await parked_actions.counts(session)
    head = await opened.store.head()  # after the checkpoints, which move on meanwhile
    waits = [f"{row.name} {head - row.position} behind" for row in checkpoints if row.position < head]
    detail = f"{head} positions, " + (", ".join(waits) or "all read")
    states = [f"{aside[state]} {state}" for state in ("parked", "retrying", "behind") if state in aside]
    checks = [(name, "wrong" if "parked" in aside else "ok", ", ".join((detail, *states)))]
    checks += [
        (name, "wrong", str(LogWentBack(name, row.name, row.position, head))) for row in checkpoints if row.position > head
    ]
    still = "{0.consumer} is held still by {0.paused_by}; if that has ended, `projections rebuild` again, or `projections resume`"
    checks += [(name, "wrong", still.format(row)) for row in held]
    checks += [(name, "wrong", f"nothing reaches {row.consumer}: {row.trouble}") for row in subscriptions if row.trouble]
    checks += [
        (
            name,
            "wrong",
            f"{row.consumer} is left alone behind position {row.detached_at}: more than {row.backlog_limit} wait for it",
        )
        for row in subscriptions
        if row.detached_at is not None
    ]
    checks += [
        (
            name,
            "wrong",
            f"{row.consumer} is no longer declared and is fed all the same: `subscriptions remove {row.consumer}` ends it",
        )
        for row in subscriptions
        if not row.is_external and declared is not None and row.consumer not in declared
    ]
    if isinstance(opened.store, PostgresEventStore):
        checks.append(await _horizon(opened))
    return checks


async def _horizon(opened: OpenService) -> Check:
    writer = await oldest_writer(opened.tables)
    part = f"{opened.service.name} horizon"
    if writer is None:
        return (part, "ok", "no writing transaction is open")
    if not writer.is_too_old:
        return (part, "ok", f"oldest open writing transaction: {writer}")
    return (part, "wrong", f"readers wait for a writing transaction older than {TOO_OLD_SECONDS:.0f} s: {writer}. End it")
