"""A process that is the relay of the counters and nothing else: ``python -m tests.support.relaying DATABASE BUS LEASE [asleep]``.

With ``asleep`` it stops itself as SIGSTOP does, right behind the answer to the statement that moves a checkpoint.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from sagakit.leadership import Leader
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.settings import load_settings
from sagakit.system import System
from tests.support.shop import SERVICES

_has_slept = False


def _stop_once(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
    global _has_slept  # noqa: PLW0603 a process sleeps once
    if not _has_slept and statement.startswith("UPDATE sagakit_checkpoints SET position"):
        _has_slept = True
        os.kill(os.getpid(), signal.SIGSTOP)


async def _main(database: str, bus_url: str, lease: float, *, is_sleeper: bool) -> None:
    async with System(load_settings(database=database), SERVICES) as system:
        opened = await system.open("counting")
        if is_sleeper:
            event.listen(opened.tables.engine.sync_engine, "after_cursor_execute", _stop_once)
        bus = RabbitBus(bus_url, 5, 50)
        await bus.open()

        def lead(name: str) -> Leader:
            return Leader(opened.tables, name, str(os.getpid()), lease)

        await Relay(opened.store, opened.tables, lead, bus, 50, 0.05).run()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3]), is_sleeper="asleep" in sys.argv[4:]))
