"""`python -m benchmarks SECTION`: runs the rows of a section and writes results, table and chart."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import sagakit
from benchmarks import machine, peer, results
from benchmarks.bench import Bench
from benchmarks.chart import chart
from benchmarks.databases import Postgres
from benchmarks.delivery import rows as delivery_rows
from benchmarks.log import rows as log_rows
from benchmarks.measure import NotMeasured, Result, Row, Scale, not_measured, run
from benchmarks.sagas import rows as saga_rows
from sagakit.temporal.dev_server import SERVER_VERSION
from tests.support.servers import ServiceMissing, postgres, rabbitmq

ROOT = Path(__file__).resolve().parents[1]
SECTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "log": log_rows.rows,
    "delivery": delivery_rows.rows,
    "sagas": saga_rows.rows,
}
SERVERS = {
    "log": "slow2ms is commit_delay=2000 with commit_siblings=0",
    "delivery": "RabbitMQ with its own settings, one node; garbage is collected as `start` has it, on both sides",
    "sagas": f"Temporal {SERVER_VERSION}: the dev server on SQLite, and the production server on this PostgreSQL",
}
WITH_BUS = ("delivery", "sagas")
console = Console(stderr=True)


def main() -> int:
    """Read the arguments, run, and tell by the exit code whether every must is met: 0 yes, 1 no, 2 it cannot run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--quick", action="store_true", help="few rounds of few acts: only shows that it works")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds this text")
    parser.add_argument("--replace", action="store_true", help="put them in the place of theirs in the last whole run")
    arguments = parser.parse_args()
    # Our loops tell of what they wait for; here that would be measured too.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    peer.install()
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sagakit-bench-")))
            bus = stack.enter_context(rabbitmq()) if arguments.section in WITH_BUS else ""
            bench = Bench(Postgres(stack.enter_context(postgres())), folder, Scale(arguments.quick), bus)
            found, server = asyncio.run(_run(arguments.section, bench, arguments.only))
    except ServiceMissing as error:
        console.print(f"error: {error}")
        return 2
    if not found:
        return 2
    is_replaced = arguments.replace and not arguments.quick
    if is_replaced:
        found = results.replaced(results.read_json(results_of(arguments.section)), found)
    write(found, arguments.section, server, is_whole=is_replaced or not (arguments.quick or arguments.only))
    return int(any(result.verdict == "missed" for result in found))


async def _run(section: str, bench: Bench, only: str) -> tuple[list[Result], str]:
    server = await bench.postgres.require_fsync()
    rows = [row for row in SECTIONS[section](bench) if only.lower() in row.name.lower()]
    found: list[Result] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn between measurements only: a drawing thread would take its share of the processor.
    async with bench.closing:
        progress = bench.closing.enter_context(Progress(*columns, console=console, auto_refresh=False))
        task = progress.add_task(section, total=sum(row.measurements(bench.scale) for row in rows))
        for row in rows:
            progress.update(task, description=row.name, refresh=True)
            try:
                result = await run(row, bench.scale, lambda: progress.update(task, advance=1, refresh=True))
            except NotMeasured as why:
                result = not_measured(row, why)
            found.append(result)
            progress.console.print(
                f"{result.verdict:>6}  {result.ratio:7.2f}  {row.name}  ({result.ours:,.1f} / {result.theirs:,.1f} {row.unit})",
                soft_wrap=True,
            )
    return found, server


def results_of(section: str) -> Path:
    """Say where the results of a whole run are."""
    return ROOT / f"benchmarks/results/{section}.json"


def write(found: list[Result], section: str, server: str, *, is_whole: bool) -> None:
    """Write a whole run into the documents; of a part, only the JSON, under a name that is not committed."""
    path = results_of(section if is_whole else f"{section}.partial")
    results.write_json(found, path)
    console.print(f"written: {path.relative_to(ROOT)}")
    if not is_whole:
        return
    pinned = [re.split(r" [;\\]", line)[0] for line in peer.LOCK.read_text().splitlines() if "==" in line]
    foreign = max(result.foreign_cpu for result in found)
    facts = [
        f"command: `make bench SECTION={section}`",
        f"machine: {machine.description()}",
        f"ours: sagakit {sagakit.__version__}, {machine.versions('pydantic', 'asyncpg', 'temporalio')}",
        f"peers: {', '.join(pinned)}",
        f"PostgreSQL {server}, its own settings, fsync on; {SERVERS[section]}",
        f"processor share taken by others during a row: at most {foreign:.0%}",
    ]
    document = ROOT / "docs/benchmarks.md"
    body = results.table(found, facts) + f"\n![ratios of the section {section}](benchmarks-{section}.svg)\n"
    document.write_text(results.put_section(document.read_text() if document.exists() else "", section, body))
    (ROOT / f"docs/benchmarks-{section}.svg").write_text(
        chart([result for result in found if (result.must or result.aim) and result.runs["ours"]])
    )
    console.print(f"written: {document.relative_to(ROOT)}, docs/benchmarks-{section}.svg")


if __name__ == "__main__":
    sys.exit(main())
