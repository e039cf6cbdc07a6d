"""One process of the bank test: some roles of all its services, until it is told to stop or killed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from sagakit.cli.output import configure_logging
from sagakit.cli.start import only_process
from sagakit.errors import TemporalUnavailable
from sagakit.runtime import Runtime, stop_on_signals
from sagakit.service import ServiceMap
from sagakit.settings import Settings
from sagakit.system import System
from sagakit.temporal.dev_server import end_with_parent
from sagakit.temporal.plugin import connect_by
from worker.services import BANK

_PAUSE_SECONDS = 0.2


def serve(settings: Settings, roles: tuple[str, ...], log: Path) -> None:
    """Run in a process of its own; what it says goes to ``log``."""
    end_with_parent()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    configure_logging(is_verbose=False)
    asyncio.run(_serve(settings, roles))


async def _serve(settings: Settings, roles: tuple[str, ...]) -> None:
    stop = stop_on_signals()
    with only_process(settings):
        while not stop.is_set():
            try:
                client = await connect_by(settings, str(settings.temporal_address))
            except TemporalUnavailable:  # it is being started again
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)
            else:
                break
        else:
            return
        async with System(settings, ServiceMap(BANK)) as system:
            runtime = Runtime(system, client, (), roles)
            await runtime.start()
            await runtime.run_until(stop)
