"""`provider`: a payment provider that is only played, as a process of its own beside `start`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from sagakit.cli.output import runs, stderr
from sagakit.cli.session import open_system, session_of, traced
from sagakit.runtime import stop_on_signals
from worker.provider.judge import faults_of
from worker.provider.ledger import Ledger
from worker.provider.provider import SERVICE, Provider


@runs
async def provider(
    context: typer.Context,
    ledger: Annotated[Path | None, typer.Option(help="Its ledger, a file; payment-provider.ledger in the data folder.")] = None,
    slow: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds until it answers.")] = 0,
    naive: Annotated[bool, typer.Option("--naive", help="Forget at each start what it did before, and do it again.")] = False,
) -> None:
    """Play the payment provider of orders that are paid by one, until ^C; exit code 1 when its ledger shows a double effect."""
    session, stop = session_of(context), stop_on_signals()
    path = ledger or session.settings.data / "payment-provider.ledger"
    async with traced(session, "payment-provider"), open_system(session) as system:
        await system.open(SERVICE)
        with Ledger(path) as book:
            stderr.print(f"Running, ledger {path}", soft_wrap=True)
            await Provider(system, book, timedelta(seconds=slow), naive).run(stop)
            faults = faults_of(book.entries)
    for fault in faults:
        stderr.print(fault, soft_wrap=True)
    if faults:
        raise typer.Exit(1)
