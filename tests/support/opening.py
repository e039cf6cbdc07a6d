"""Opens databases as another process would: `python -m tests.support.opening DATABASE FOLDER EVENTS`, on its own streams."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.faulty import PARTS, RUNS, Begin
from tests.support.shop import COUNTING, Add

SERVICES = ServiceMap([COUNTING, RUNS, PARTS])


async def open_all(database: str, folder: Path) -> None:
    """Bring the databases of all services up from nothing."""
    async with System(load_settings(data=folder, database=database), SERVICES) as system:
        await asyncio.gather(*(system.open(service.name) for service in SERVICES.services))


async def write(database: str, folder: Path, count: int) -> None:
    """Open, and handle commands on streams of this process's own and on one that all share."""
    async with System(load_settings(data=folder, database=database), SERVICES) as system:
        for number in range(count):
            await system.send(Add(counter=f"{os.getpid()}", amount=1), Context())
            await system.send(Add(counter="shared", amount=1), Context())
            await system.send(Begin(run=f"{os.getpid()}-{number}"), Context())


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
