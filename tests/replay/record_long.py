"""Records the runs of a saga that goes on in new ones, once: what earlier releases handed over has to be read for ever."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from sagakit.testing import rehearsing
from tests.replay.record import shortened
from tests.support.long_voyage import LONG_VOYAGES, LongVoyage
from tests.support.sailing import sailing
from tests.support.voyage import LEGS

HISTORIES = Path(__file__).parent / "long_histories"


async def record() -> None:
    """Record a voyage with a wait, steps side by side, a child, and its undo."""
    HISTORIES.mkdir(exist_ok=True)
    services = [LONG_VOYAGES, LEGS]
    plan = "legs:3 side:x,y child:b=leg:k legs:3 tell days:2 pivot"
    async with (
        rehearsing(services, is_prompt=True) as stage,
        sailing(stage, services, LongVoyage, plan, {15: "refused"}, voyage="recorded") as voyage,
    ):
        assert (await voyage.handle.result()).status == "compensated"
        for number, run in enumerate(await voyage.runs(), start=1):
            (HISTORIES / f"run-{number}.json").write_text(json.dumps(shortened(json.loads(run.to_json())), separators=(",", ":")))


if __name__ == "__main__":
    asyncio.run(record())
    os._exit(0)  # as in tests/replay/record.py
