"""What is done to the site, one part after the other; each says how often it did it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

from sagakit import crash_points
from sagakit.sql.subscriptions import checkpoint_of
from tests.chaos.delivery.domain import LEDGER
from tests.chaos.delivery.site import LEASE_SECONDS, Site, stop_process

Tick = Callable[[], None]
REACHED_WITHIN_SECONDS = 25
FARTHEST = {crash_points.PARKED_RETRIED: 2, crash_points.SAGA_STARTED: 5}
"""The farthest time at which a process dies at a label, where it is reached seldom; 12 elsewhere."""


async def at_label(site: Site, label: str, hits: int, tick: Tick) -> tuple[int, dict[str, Any]]:
    """Kill the process that reaches the label there, again and again; the consumers now and then anywhere."""
    role = site.roles_of(label)
    worker = site.arm(label, role, FARTHEST.get(label, 12))
    seen, since = 0, time.monotonic()
    while worker.hits < hits:
        await asyncio.sleep(0.05)
        if worker.hits > seen:
            for _ in range(worker.hits - seen):
                tick()
            seen, since = worker.hits, time.monotonic()
            if role != "consumers" and seen % 5 == 0:
                site.workers["consumers"].kill()
        if time.monotonic() - since > REACHED_WITHIN_SECONDS:
            break  # it is not reached, or the site stands still
    site.disarm(role)
    return worker.hits, {} if worker.hits else {"note": "not reached"}


async def broker_killed(site: Site, hits: int, tick: Tick) -> tuple[int, dict[str, Any]]:
    """Kill -9 RabbitMQ at random moments under load, each time after events came through again."""
    return await _server_killed(site, site.rabbitmq.kill, site.rabbitmq.start, hits, tick)


async def database_killed(site: Site, hits: int, tick: Tick) -> tuple[int, dict[str, Any]]:
    """Kill -9 PostgreSQL in the same way."""
    return await _server_killed(site, site.postgres.kill, site.postgres.start, hits, tick)


async def _server_killed(
    site: Site, kill: Callable[[], None], start: Callable[[], None], hits: int, tick: Tick
) -> tuple[int, dict[str, Any]]:
    recovered: list[float] = []
    for hit in range(hits):
        await asyncio.sleep(site.chance.uniform(0.2, 1.5))
        await asyncio.to_thread(kill)
        await asyncio.to_thread(start)
        up = time.monotonic()
        if not await site.moves_on(10):
            return hit + 1, {"note": "nothing came through any more"}
        recovered.append(time.monotonic() - up)
        tick()
    return hits, {"recovered_seconds": round(max(recovered), 1)}


async def leader_stopped(site: Site, hits: int, tick: Tick) -> tuple[int, dict[str, Any]]:
    """Stop the leading relay past its lease and wake it, with a second one beside it; watch the checkpoint."""
    site.add("second relay", "relay")
    await site.ready()
    moved_back = stopped = 0
    async with site.connected("mill") as connection:
        query = "select owner, position from sagakit_checkpoints where name = $1"
        last = 0
        for _ in range(hits):
            leader = None
            async with asyncio.timeout(30):
                while leader is None:
                    row = await connection.fetchrow(query, checkpoint_of(LEDGER))
                    leader = next((w for w in site.workers.values() if row and row["owner"] == w.owner), None)
                    await asyncio.sleep(0.02)
            process = leader.process
            assert process is not None
            stop_process(process, signal.SIGSTOP)
            until, is_awake, is_replaced = time.monotonic() + 3 * LEASE_SECONDS, False, False
            while time.monotonic() < until or not is_awake:
                if time.monotonic() >= until:
                    stop_process(process, signal.SIGCONT)
                    is_awake, until = True, time.monotonic() + 1
                row = await connection.fetchrow(query, checkpoint_of(LEDGER))
                moved_back += row["position"] < last
                last = row["position"]
                is_replaced = is_replaced or row["owner"] not in ("", leader.owner)
                await asyncio.sleep(0.01)
            stopped += is_replaced
            tick()
    site.remove("second relay")
    return stopped, {"checkpoints_moved_back": moved_back}
