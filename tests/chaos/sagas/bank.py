"""The bank test: transfers between two services while worker, relay and Temporal are killed again and again (G4, D7, D14)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chaos.sagas.row import Options, Row, Say
from tests.support import servers
from tests.support.processes import end_with_parent

ROOT = Path(__file__).resolve().parents[3]
_SCENARIO = "transfers while worker, relay and Temporal are killed every 5 to 30 s"
_QUICK_TRANSFERS = 200
_OFTEN = ("--kills-every", "1", "3", "--kills", "6")


async def rows(options: Options, say: Say) -> list[Row]:
    """Run the transfers on PostgreSQL and RabbitMQ, where the relay is a process of its own; one row."""
    transfers = min(options.transfers, _QUICK_TRANSFERS) if options.is_quick else options.transfers
    with servers.postgres() as postgres, servers.rabbitmq() as rabbitmq:
        settings = {
            "SAGAKIT_DATA": str(options.folder / "bank"),
            "SAGAKIT_DATABASE": f"{postgres}/chaos{os.getpid()}_{{service}}",
            "SAGAKIT_BUS": rabbitmq,
        }
        summary = await _demo_bank(options.folder, settings, transfers, options.seed, is_quick=options.is_quick)
    say(json.dumps(summary))
    if not summary["kills"]:
        raise AssertionError("nothing was killed: this shows nothing")
    names = ("completed", "compensated", "parked", "stuck", "double_effects", "invariant_breaks")
    broken = [name for name, holds in summary["invariants"].items() if not holds]
    counts = {name: summary[name] for name in names}
    # One that no sample shows, as money that is left in transit, is a break too.
    counts["invariant_breaks"] = max(counts["invariant_breaks"], len(broken))
    return [Row(_SCENARIO, transfers, **counts)]


async def _demo_bank(folder: Path, settings: Mapping[str, str], transfers: int, seed: int, *, is_quick: bool) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAGAKIT_", "TEMPORAL_", "OTEL_"))}
    summary = folder / "bank.json"
    command = [sys.executable, "-m", "worker", "demo", "bank", "--accounts", "100", "--transfers", str(transfers)]
    command += ["--chaos", "--seed", str(seed), "--summary-file", str(summary), *(_OFTEN if is_quick else ())]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=kept | dict(settings) | {"PYTHONPATH": str(ROOT)}, stdout=sys.stderr, preexec_fn=end_with_parent
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        await process.wait()
        raise
    if not summary.exists():
        raise AssertionError(f"demo bank ended with {code} before it had counted")
    found: dict[str, Any] = json.loads(summary.read_text())
    return found
