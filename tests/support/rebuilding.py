"""Rebuilds in a process of its own, which stops half way: `python -m tests.support.rebuilding DATABASE FOLDER`, to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from sagakit import Service
from sagakit.rebuild import rebuild
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.counted import Counted
from tests.support.shop import Counter, Hoard


class Stuck(Counted, name="counted", table=Counted.table):
    """Applies forty events, says so, and waits to be killed."""

    applied = 0

    async def apply(self, *args: Any) -> None:
        await super().apply(*args)
        self.applied += 1
        if self.applied == 40:
            print("half way", flush=True)
            await asyncio.Event().wait()


Stuck.handlers = Counted.handlers


async def main(database: str, folder: Path) -> None:
    services = ServiceMap([Service("counting", aggregates=(Counter, Hoard), projections=(Stuck,))])
    async with System(load_settings(data=folder, database=database), services) as system:
        await rebuild(system, "counted", lambda *_: None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
