"""`python -m worker`: sagakit's commands over the demo's services, and the demo's own `demo` and `import`."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from temporalio.client import Client

from sagakit.cli.main import build, run_to_its_end
from sagakit.cli.output import printable, runs, stderr, stdout
from sagakit.cli.session import open_system, session_of, traced
from sagakit.cli.start import running
from sagakit.errors import InvalidInput, SagakitError
from sagakit.runtime import Runtime, stop_on_signals
from sagakit.system import System
from sagakit.temporal.executions import Executions
from sagakit.temporal.locate import require
from sagakit.temporal.plugin import connect_by
from worker import importing, waiting
from worker.bank.command import bank
from worker.order_file import OrderFile, read_order_file
from worker.provider.command import provider
from worker.sample import SAMPLE
from worker.services import SERVICES
from worker.summary import print_summary, refuse_unwritable, summarise, write_summary

cli = build(SERVICES)
demo_cli = typer.Typer(invoke_without_command=True)
cli.add_typer(demo_cli, name="demo")
_TOLD_PARKED = 10
_START = "Is `start` running, with all services? `doctor` shows what waits where. ^C ends the waiting; nothing is lost."
_BUSY = "The services run in this process: the machine may be busy, or --verbose shows what they wait for."
Stock = Annotated[
    int, typer.Option("--stock-per-product", min=0, max=999_999_999, help="Units each product is seeded with, once.")
]
Decline = Annotated[
    str, typer.Option("--decline-over", help="Payments above this total, in GBP, are declined; 'none' declines none.")
]
SummaryFile = Annotated[Path | None, typer.Option("--summary-file", help="Write the figures as JSON into this file.")]


class Interrupted(SagakitError):
    """The import was stopped before every document had an outcome; starting again goes on where it stopped."""


def _options(stock_per_product: int, decline_over: str) -> importing.ImportOptions:
    try:
        limit = None if decline_over == "none" else Decimal(decline_over)
    except InvalidOperation:
        limit = Decimal("NaN")
    if limit is not None and (not limit.is_finite() or limit < 0):
        raise InvalidInput(f"--decline-over {decline_over}: expected an amount like 400 or 399.50, or 'none'")
    return importing.ImportOptions(stock_per_product, limit)


def _prepared(
    path: Path, stock_per_product: int, decline_over: str, summary_file: Path | None
) -> tuple[importing.ImportOptions, OrderFile]:
    """Find everything that is wrong with what was asked for, before anything is started or sent."""
    options, orders = _options(stock_per_product, decline_over), read_order_file(path)
    importing.refuse_oversized(orders, options)
    if summary_file is not None:
        refuse_unwritable(summary_file)
    return options, orders


async def _import(
    system: System, client: Client, file: OrderFile, options: importing.ImportOptions, stop: asyncio.Event, advice: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Place, wait, sum up, with progress on stderr."""
    began = time.monotonic()
    numbers = {document.number for document in (*file.orders, *file.returns)}
    columns = TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in ("stock", "documents", "outcomes")}

        def progress(name: str, done: int, total: int) -> None:
            bar.update(tasks[name], completed=done, total=total)

        async def parked() -> dict[str, str]:
            sagas = [saga.workflow_id async for saga in Executions(client).listed("parked")]
            by_saga = {saga.partition("/")[2]: f"the saga {saga} waits for a person's decision" for saga in sagas}
            return await waiting.parked_events(system) | by_saga

        placing = asyncio.create_task(importing.place_documents(system, file, options, progress))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([placing, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not placing.done():
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
            raise Interrupted("stopped while placing documents; start again, and it goes on where it stopped")
        stopping.cancel()
        duplicates = placing.result()
        stillness = waiting.Stillness(_say, advice)
        stuck = await waiting.wait_for_outcomes(system, numbers, parked, progress, stop, stillness)
        await waiting.wait_for_reports(system, stop, stillness)
        if stop.is_set():
            raise Interrupted("stopped while sagas are open; start again, and they go on where they stopped")
    # What the reports set aside came last.
    stuck |= {number: why for number, why in (await waiting.parked_events(system)).items() if number in numbers - stuck.keys()}
    _tell_parked(stuck)
    rows = await waiting.outcomes(system)
    return await summarise(system, file, rows, set(stuck), duplicates, time.monotonic() - began), rows


def _say(text: str) -> None:
    stderr.print(Text(printable(text)), soft_wrap=True)


def _tell_parked(stuck: dict[str, str]) -> None:
    for number, why in list(stuck.items())[:_TOLD_PARKED]:
        _say(f"parked: document {number}: {why}")
    if len(stuck) > _TOLD_PARKED:
        _say(f"parked: and {len(stuck) - _TOLD_PARKED} documents more")


def _finish(summary: dict[str, Any], file: OrderFile, rows: dict[str, Any], summary_file: Path | None) -> None:
    print_summary(summary, file, rows)
    if summary_file is not None:
        write_summary(summary_file, summary)
    if not all(summary["invariants"].values()):
        raise typer.Exit(1)


@cli.command(name="import")
@runs
async def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A CSV file of invoice rows.")],
    stock_per_product: Stock = 1_000_000,
    decline_over: Decline = "1000",
    summary_file: SummaryFile = None,
) -> None:
    """Import an order file into running services (`start` in another terminal) and wait for every outcome."""
    session, stop = session_of(context), stop_on_signals()
    options, orders = _prepared(file, stock_per_product, decline_over, summary_file)
    async with traced(session, "import"), open_system(session) as system:
        client = await connect_by(session.settings, require(session.settings).address)
        summary, rows = await _import(system, client, orders, options, stop, _START)
    _finish(summary, orders, rows, summary_file)


@demo_cli.callback()
@runs
async def demo(
    context: typer.Context,
    input_file: Annotated[Path, typer.Option("--input", help="The order file; a made-up sample when left out.")] = SAMPLE,
    stock_per_product: Stock = 100,
    decline_over: Decline = "400",
    summary_file: SummaryFile = None,
    keep: Annotated[bool, typer.Option(help="Leave it running for the Temporal UI until ^C.")] = False,
) -> None:
    """Run all services in this process, import a file, show what became of every order, and end."""
    if context.invoked_subcommand is not None:
        return
    session, stop = session_of(context), stop_on_signals()
    options, orders = _prepared(input_file, stock_per_product, decline_over, summary_file)
    async with traced(session, "demo"), running(session) as (system, runtime, location):
        client = await connect_by(session.settings, location.address)
        try:
            summary, rows = await _import_or_die(runtime, _import(system, client, orders, options, stop, _BUSY))
            _finish(summary, orders, rows, summary_file)
            _look_further(location.ui, orders, session.settings.data)
            if keep:
                stderr.print("Left running until ^C.")
                await stop.wait()
        finally:
            await runtime.drain()


async def _import_or_die(runtime: Runtime, importing_: Any) -> Any:
    """Wait for the import, but not for ever beside a loop that died."""
    task = asyncio.ensure_future(importing_)
    await runtime.wait_beside(task)
    return await task


def _look_further(ui: str, file: OrderFile, data: Path) -> None:
    number = file.orders[0].number if file.orders else file.returns[0].number if file.returns else "ID"
    stdout.print("\nLook further:")
    stdout.print(f"  Temporal UI (make demo KEEP=1):  {ui or 'of your server'}/namespaces/default/workflows", soft_wrap=True)
    stdout.print(f"  python -m worker --data {data} show order {number}", soft_wrap=True)
    stdout.print(f"  python -m worker --data {data} trace {number}", soft_wrap=True)


demo_cli.command()(bank)
cli.command()(provider)


if __name__ == "__main__":
    run_to_its_end(cli)
