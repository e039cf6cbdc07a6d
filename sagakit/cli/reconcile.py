"""`reconcile`: proves that every consumer handled what it is owed, once; exit code 1 when something is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from sagakit.accounts import Account
from sagakit.cli.messages import AsJson
from sagakit.cli.output import print_json, print_table, runs, stdout
from sagakit.cli.session import Session, metered, open_system, session_of
from sagakit.errors import InvalidInput
from sagakit.ports import Bus
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.reconcile import reconcile as compare
from sagakit.runtime import stop_on_signals
from sagakit.telemetry import reconciled

_COLUMNS = ("consumer", "owed", "handled", "dropped", "forgotten", "parked", "waiting", "late", "lost", "doubled")


@runs
async def reconcile(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again until ^C.")] = False,
    every: Annotated[float, typer.Option(min=1, help="With --watch: seconds between two rounds.")] = 60.0,
    consumer: Annotated[str | None, typer.Option(help="Only this consumer.")] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that an event may take; younger ones are not looked at.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Compare what each consumer is owed by the logs with what it handled; exit code 1 when anything is lost or doubled.

    The figures are metrics as well, where OTEL_EXPORTER_OTLP_ENDPOINT is set.
    """
    session = session_of(context)
    with metered(session, "reconcile"):
        accounts = await _rounds(session, consumer, grace, every if watch else None, as_json=as_json)
    if any(account.is_wrong for account in accounts):
        raise typer.Exit(1)


async def _rounds(session: Session, consumer: str | None, grace: float, every: float | None, *, as_json: bool) -> list[Account]:
    """Compare and tell, once, or every so many seconds until a signal; return the last accounts."""
    stop = stop_on_signals() if every is not None else asyncio.Event()
    async with open_system(session) as system, _bus(session) as bus:
        while True:
            accounts = await compare(system, bus, grace, consumer)
            if consumer is not None and not accounts:
                raise InvalidInput(f"no consumer {consumer}: without --consumer all are shown")
            reconciled({each.consumer: asdict(each) for each in accounts})
            _show(accounts, as_json=as_json)
            if every is None or await _is_set(stop, every):
                return accounts


async def _is_set(stop: asyncio.Event, seconds: float) -> bool:
    try:
        return await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False


@asynccontextmanager
async def _bus(session: Session) -> AsyncIterator[Bus | None]:
    """Open the broker to ask what waits there; in the in-process bus nothing does."""
    settings = session.settings
    if settings.is_embedded_bus:
        yield None
        return
    bus = RabbitBus(settings.bus, settings.publish_seconds, settings.prefetch)
    try:
        await bus.open()
        yield bus
    finally:
        await bus.close()


def _show(accounts: list[Account], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(each) for each in accounts])
        return
    rows = [asdict(each) | {"doubled": "not counted" if each.doubled is None else each.doubled} for each in accounts]
    print_table("reconcile", _COLUMNS, [[row[name] for name in _COLUMNS] for row in rows])
    for account in accounts:
        for name in account.named:
            stdout.print(f"lost: {account.consumer}: {name}", markup=False, soft_wrap=True)
