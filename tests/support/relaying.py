"""A process that is the relay of the counters and nothing else: ``python -m tests.support.relaying DATABASE BUS LEASE``."""

from __future__ import annotations

import asyncio
import os
import sys

from sagakit.leadership import Leader
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.shop import SERVICES


async def _main(database: str, bus_url: str, lease: float) -> None:
    async with System(load_settings(database=database), SERVICES) as system:
        opened = await system.open("counting")
        bus = RabbitBus(bus_url, 5, 50)
        await bus.open()

        def lead(name: str) -> Leader:
            return Leader(opened.tables, name, str(os.getpid()), lease)

        await Relay(opened.store, opened.tables, lead, bus, 50, 0.05).run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
