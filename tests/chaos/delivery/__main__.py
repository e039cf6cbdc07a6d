"""`python -m tests.chaos.delivery`: kills what delivers, at every named point and at random, and judges what took effect.

The exit code is 0 only when nothing is lost, out of order or doubled, every label was reached often enough, and events were
delivered more than once, without which nothing would be shown; 1 otherwise, 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.delivery import downstream, nemesis
from tests.chaos.delivery.nemesis import Tick
from tests.chaos.delivery.site import Site, labels
from tests.chaos.delivery.table import put_table
from tests.chaos.delivery.verdict import Judge, Row
from tests.support.servers import ServiceMissing

RESULTS = Path(__file__).parents[1] / "results"
OTHERS = {
    "relay: the leader stopped past its lease and woken": nemesis.leader_stopped,
    "rabbitmq: kill -9 at random moments": nemesis.broker_killed,
    "postgresql: kill -9 at random moments": nemesis.database_killed,
}
DOWNSTREAM = "downstream: one service stopped under load"
Part = Callable[[Site, Tick], Awaitable[tuple[int, dict[str, Any]]]]
console = Console(stderr=True)


def main() -> int:
    """Read the arguments, run, and write the results."""
    parser = argparse.ArgumentParser(prog="make chaos SECTION=delivery", description=__doc__)
    parser.add_argument("--hits", type=int, default=30, help="how often each label is hit, and each server killed")
    parser.add_argument("--labels", default="", metavar="TEXT", help="only parts whose label holds one of these texts, by comma")
    parser.add_argument("--seconds", type=float, default=60, help="how long the downstream service stands still")
    parser.add_argument("--rate", type=float, default=60, help="commands a second")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    console.print(f"seed {arguments.seed}")
    parts = _parts(arguments)
    if not parts:
        console.print(f"error: no label holds {arguments.labels!r}")
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="sagakit-chaos-") as folder:
            rows = asyncio.run(_run(Path(folder), parts, arguments.seed, arguments.rate))
    except ServiceMissing as error:
        console.print(f"error: {error}")
        return 2
    is_whole = not arguments.labels and arguments.hits >= 30
    path = RESULTS / ("delivery.json" if is_whole else "delivery.partial.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
    if is_whole:
        document = Path(__file__).parents[3] / "docs/chaos.md"
        document.write_text(put_table(document.read_text(), rows, arguments.seed))
    console.print(f"written: {path}")
    faults = [fault for row in rows for fault in _faults(row, parts[row.label][0])]
    if not sum(row.duplicates_delivered for row in rows):
        faults.append("no event was delivered twice: this shows nothing")
    for fault in faults:
        console.print(f"FAULT {fault}", style="red", soft_wrap=True)
    return int(bool(faults))


def _parts(arguments: argparse.Namespace) -> dict[str, tuple[int, Part]]:
    """List what is done, with how often; what is slow or shakes all the others comes last."""
    parts: dict[str, tuple[int, Part]] = {}
    for label in labels():
        parts[label] = arguments.hits, partial(_at_label, label, arguments.hits)
    for label, act in OTHERS.items():
        hits = max(arguments.hits // 6, 1) if act is nemesis.leader_stopped else arguments.hits
        parts[label] = hits, partial(_with_hits, act, hits)
    parts[DOWNSTREAM] = 1, partial(_downstream, arguments.seconds)
    wanted = [text.strip().lower() for text in arguments.labels.split(",")]
    return {label: part for label, part in parts.items() if any(text in label for text in wanted)}


async def _at_label(label: str, hits: int, site: Site, tick: Tick) -> tuple[int, dict[str, Any]]:
    return await nemesis.at_label(site, label, hits, tick)


async def _with_hits(act: Callable[..., Awaitable[tuple[int, dict[str, Any]]]], hits: int, site: Site, tick: Tick) -> Any:
    return await act(site, hits, tick)


async def _downstream(seconds: float, site: Site, tick: Tick) -> tuple[int, dict[str, Any]]:
    return await downstream.stopped(site, seconds, tick)


async def _run(folder: Path, parts: dict[str, tuple[int, Part]], seed: int, rate: float) -> list[Row]:
    rows: list[Row] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with Site.opened(folder, seed, rate) as site:
        judge = Judge(site)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("chaos", total=sum(hits for hits, _ in parts.values()))
            for label, (_, act) in parts.items():
                progress.update(task, description=label)
                began = time.monotonic()
                site.callers.resume()
                hits, extra = await act(site, lambda: progress.advance(task))
                row = await judge.row(label, hits)
                row.extra |= extra
                rows.append(row)
                told = {key: value for key, value in row.as_json().items() if key != "label"}
                progress.console.print(f"{time.monotonic() - began:5.0f} s  {label}  {told}", soft_wrap=True)
        alone = {name: worker.ended_alone for name, worker in site.workers.items()}
        console.print(
            f"{len(site.callers.acknowledged)} commands; processes that ended by themselves, to be started again: {alone}"
        )
    return rows


def _faults(row: Row, hits: int) -> list[str]:
    wrong = {name: value for name, value in row.as_json().items() if name in ("lost", "out_of_order", "double_effects") and value}
    faults = [f"{row.label}: {name} {value}" for name, value in wrong.items()]
    if row.hits < hits:
        faults.append(f"{row.label}: hit {row.hits} times instead of {hits}; {row.extra.get('note', '')}")
    if row.extra.get("checkpoints_moved_back"):
        faults.append(f"{row.label}: a checkpoint moved back")
    if (callers := row.extra.get("callers")) and isinstance(callers, dict) and callers["rate_ratio"] < 0.9:
        faults.append(f"{row.label}: callers lost rate, {callers['rate_ratio']} of before")
    return faults


if __name__ == "__main__":
    sys.exit(main())
