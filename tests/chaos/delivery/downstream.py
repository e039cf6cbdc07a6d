"""One downstream service stands still under load: what callers feel of it, beside callers of a chain of synchronous calls."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from sagakit.repository import Context
from sagakit.temporal.free_port import free_port
from tests.chaos.delivery.callers import LANES, summed_up
from tests.chaos.delivery.domain import Fill
from tests.chaos.delivery.nemesis import Tick
from tests.chaos.delivery.site import Site, stop_process
from tests.support.processes import end_with_parent
from tests.support.waiting import until

CALL_SECONDS = 2.0


async def stopped(site: Site, seconds: float, tick: Tick) -> tuple[int, dict[str, Any]]:
    """Stop the consumers for a while; return the ratios of rate and latency to before, and those of the synchronous chain."""
    before = await site.callers.watch(seconds / 3)
    process = site.workers["consumers"].process
    assert process is not None
    stop_process(process, signal.SIGSTOP)
    during = await site.callers.watch(seconds)
    waiting = len(site.callers.acknowledged)
    stop_process(process, signal.SIGCONT)
    began = time.monotonic()
    await until(lambda: _has_effects(site, waiting), "the backlog to drain", 120)
    drained = time.monotonic() - began
    await site.callers.pause()
    tick()
    async with _chain(site) as (callers, server):
        chained_before = await callers.watch(seconds / 3)
        stop_process(server, signal.SIGSTOP)
        chained_during = await callers.watch(max(seconds / 3, 2 * CALL_SECONDS))
        stop_process(server, signal.SIGCONT)
    return 1, {
        "stopped_seconds": seconds,
        "drained_seconds": round(drained, 1),
        "callers": _ratios(before, during),
        "synchronous_chain": _ratios(chained_before, chained_during),
    }


async def _has_effects(site: Site, count: int) -> bool:
    return await site.effects() >= count


def _ratios(before: tuple[float, float, float], during: tuple[float, float, float]) -> dict[str, float]:
    """Divide what was during by what was before: rate, median and 99th percentile of the answers."""
    names = ("rate", "median", "p99")
    figures = {f"{name}_ratio": round(b / a, 3) for name, a, b in zip(names, before, during, strict=True)}
    return figures | {"rate_before": round(before[0], 1), "median_before_ms": round(before[1], 2)}


class _Chain:
    """Callers of the same steps in a chain: the command, then a call of the next service, which answers after its effect."""

    def __init__(self, site: Site, port: int) -> None:
        self._site, self._port, self._number = site, port, 0
        self.answers: list[tuple[float, float]] = []

    async def call(self, lane: int) -> None:
        due = time.monotonic()
        while True:
            self._number += 1
            began = time.perf_counter()
            command = Fill(mill=f"s{lane}", number=-5 * self._number - 1)  # nobody looks for its effects
            await self._site.callers.system.send(command, Context(key=f"chained-{self._number}"))
            try:
                await asyncio.wait_for(self._ask(self._number), CALL_SECONDS)
            except (TimeoutError, OSError):
                pass  # the caller has no answer; it tries its next command
            else:
                self.answers.append((time.perf_counter(), time.perf_counter() - began))
            due = max(due + LANES / self._site.callers.per_second, time.monotonic() - 1)
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def _ask(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(json.dumps({"number": number}).encode() + b"\n")
            await reader.readline()
        finally:
            writer.close()

    async def watch(self, seconds: float) -> tuple[float, float, float]:
        self.answers.clear()
        await asyncio.sleep(seconds)
        return summed_up(self.answers, seconds)


@asynccontextmanager
async def _chain(site: Site) -> AsyncIterator[tuple[_Chain, multiprocessing.process.BaseProcess]]:
    port = free_port()
    async with site.connected("ledger") as connection:
        await connection.execute("create table if not exists chaos_chained (number bigint)")
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=_serve, args=(f"{site.postgres.url}/ledger", port), daemon=True)
    server.start()
    await until(lambda: _answers(port), "the synchronous service", 30)
    chain = _Chain(site, port)
    tasks = [asyncio.create_task(chain.call(lane)) for lane in range(LANES)]
    try:
        yield chain, server
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.kill()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _serve(database: str, port: int) -> None:
    end_with_parent()
    asyncio.run(_serving(database, port))


async def _serving(database: str, port: int) -> None:
    pool = await asyncpg.create_pool(database, min_size=2, max_size=5)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if line := await reader.readline():
            await pool.execute("insert into chaos_chained (number) values ($1)", json.loads(line)["number"])
            writer.write(b"{}\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()
