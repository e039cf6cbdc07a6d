"""`python -m tests.chaos.sagas`: sagas while everything they stand on fails, and what became of each.

The exit code is 0 only when every saga ended in one of the three outcomes, nothing took effect twice and no invariant broke;
1 otherwise, 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sagakit.errors import TemporalUnavailable
from tests.chaos.sagas import bank, failure_points
from tests.chaos.sagas.row import Options, Row, Scenario
from tests.support.servers import ServiceMissing

RESULTS = Path(__file__).parents[1] / "results"
SCENARIOS: dict[str, Scenario] = {
    "bank": bank.rows,
    "failure points": failure_points.rows,
}
console = Console(stderr=True)


def main() -> int:
    """Read the arguments, run, and write the results."""
    parser = argparse.ArgumentParser(prog="make chaos SECTION=sagas", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help=f"only scenarios whose name holds it: {', '.join(SCENARIOS)}")
    parser.add_argument("--transfers", type=int, default=10_000, help="transfers of the bank test")
    parser.add_argument("--quick", action="store_true", help="a look: less of everything")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    chosen = {name: scenario for name, scenario in SCENARIOS.items() if arguments.only in name}
    if not chosen or arguments.transfers < 1:
        console.print(f"error: no scenario holds {arguments.only!r}" if not chosen else "error: --transfers: one at least")
        return 2
    console.print(f"seed {arguments.seed}")
    try:
        with tempfile.TemporaryDirectory(prefix="sagakit-chaos-") as folder:
            options = Options(arguments.seed, arguments.quick, arguments.transfers, Path(folder))
            rows = asyncio.run(_run(chosen, options))
    except (ServiceMissing, TemporalUnavailable) as error:
        console.print(f"error: {error}")
        return 2
    is_whole = not arguments.quick and arguments.transfers >= 10_000
    path = RESULTS / ("sagas.json" if is_whole else "sagas.partial.json")
    _write(path, rows, chosen)
    console.print(f"written: {path}")
    faults = [fault for row in rows for fault in row.faults]
    for fault in faults:
        console.print(f"FAULT {fault}", style="red", soft_wrap=True)
    return int(bool(faults) or not rows)


def _write(path: Path, rows: list[Row], chosen: Collection[str]) -> None:
    """Write the rows; those of scenarios that were not run now stay as they are."""
    before = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in before if row["scenario"].partition(":")[0] not in chosen]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*kept, *(row.as_json() for row in rows)], indent=1) + "\n")


async def _run(chosen: dict[str, Scenario], options: Options) -> list[Row]:
    rows: list[Row] = []
    for name, scenario in chosen.items():
        began = time.monotonic()
        found = await scenario(options, lambda text: console.print(text, soft_wrap=True))
        found = [replace(row, scenario=f"{name}: {row.scenario}") for row in found]
        for row in found:
            console.print(row.as_json(), soft_wrap=True)
        rows += found
        console.print(f"{time.monotonic() - began:5.0f} s  {name}")
    return rows


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
