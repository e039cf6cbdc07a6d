"""A process that runs the saga of `faulty` over SQLite: `ADDRESS FOLDER fast|ordinary [RUN PART]`.

With a run it begins one, and kills itself when the part's command has taken effect, before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagakit.repository import Context, Repository
from sagakit.runtime import Runtime, stop_on_signals
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from sagakit.temporal.plugin import connect
from tests.support.faulty import PARTS, RUNS, Begin
from tests.support.processes import end_with_parent


async def main(address: str, folder: str, kind: str, run: str = "", part: str = "") -> None:
    end_with_parent()
    stop = stop_on_signals()
    if part:
        _die_behind(f"{run}-{part}")
    services = ServiceMap([RUNS, replace(PARTS, fast_steps=kind == "fast")])
    async with System(load_settings(data=Path(folder)), services) as system:
        runtime = Runtime(system, await connect(address, "default"))
        await runtime.start()
        if run:
            await system.send(Begin(run=run), Context())
        await runtime.run_until(stop)


def _die_behind(aggregate_id: str) -> None:
    real = Repository.handle

    async def handle(self: Repository, aggregate: Any, command: Any, context: Context) -> Any:
        outcome = await real(self, aggregate, command, context)
        if command.aggregate_id == aggregate_id:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    Repository.handle = handle  # type: ignore[method-assign]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
