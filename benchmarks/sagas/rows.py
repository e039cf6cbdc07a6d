"""The rows of the section ``sagas``: what, against what, and the ratios that must be and should be reached."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.measure import Measure, Row, Sides
from benchmarks.sagas.stage import Runner, Servers

_BARE = "bare Temporal, ordinary activities"
_PER_SECOND = "a second"
_THREE = "three steps, services in memory"
_FAST = "three fast steps, services in memory"
_WHOLE = "whole saga: aggregates on PostgreSQL, events through RabbitMQ"
_IN_FLIGHT = "32 in flight"
_ONE = "one at a time"
_PRODUCTION = "production server"
_SAME = (
    "same server, one process a side, started with the same options; ours decides, records and dedups each command in a log in "
    "memory, keeps undos, fences and a step table, theirs fills a dict and keeps a list of compensations"
)
_DBOS = (
    "ours on the production server on PostgreSQL. DBOS has no server: caller, workflow and steps are one process, which writes "
    "each step's result to PostgreSQL; there are no task queues, no undo before the do and no fence, and a step whose process "
    "died after its effect has it twice unless its author prevents that"
)
_MADE = (
    f"processor time to make one; Python writes {'no ' if sys.dont_write_bytecode else ''}bytecode here: the SDK's own sandbox "
    "compiles the workflow's module each time where there is none, ours once a worker"
)
_REAL = "four services in one process; theirs has nothing but its dict"

Of = Callable[[Runner], Measure]


def rows(bench: Bench) -> list[Row]:
    """List them in the order of the table."""
    servers = Servers(bench)

    def beside(side: str, measure: Of, server: str = "dev", **real: str) -> Callable[[], AbstractAsyncContextManager[Sides]]:
        return lambda: _beside(servers, side, measure, server, **real)

    whole = {"bus": bench.bus}
    return [
        Row(
            f"{_THREE}, {_IN_FLIGHT}", _BARE, _PER_SECOND, "higher", 0.85, 0.92, beside("ours", _rate(96)), _SAME,
        ),
        Row(f"{_THREE}, {_ONE}", _BARE, "ms", "lower", 0.85, 0.92, beside("ours", _latency(15)), _SAME),
        Row(
            f"{_FAST}, {_IN_FLIGHT}", _BARE, _PER_SECOND, "higher", 1.4, 1.6, beside("fast", _rate(96)), _SAME,
        ),
        Row(f"{_FAST}, {_ONE}", _BARE, "ms", "lower", 1.4, 1.6, beside("fast", _latency(15)), _SAME),
        Row(
            "worker's processor time of a saga", _BARE, "ms", "lower", 1 / 1.2, 1 / 1.1,
            beside("ours", _processor(96)), f"{_IN_FLIGHT}; starting it and hearing of its end are in it",
        ),
        Row(
            "worker's processor time of a saga with fast steps", _BARE, "ms", "lower", None, None,
            beside("fast", _processor(96)), f"{_IN_FLIGHT}; starting it and hearing of its end are in it", 3,
        ),
        Row(
            "sandbox of order_fulfilment", "3 ms, what it may cost", "ms", "lower", 1.0, None,
            lambda: _sandbox(servers, is_bound=True), _MADE,
        ),
        Row(
            "sandbox of order_fulfilment", "the SDK's sandbox of the bare trip", "ms", "lower", None, None,
            lambda: _sandbox(servers, is_bound=False), _MADE, 3,
        ),
        Row(
            f"{_WHOLE}, {_IN_FLIGHT}", _BARE, _PER_SECOND, "higher", None, None,
            beside("ours", _rate(96), **whole), _REAL, 3,
        ),
        Row(f"{_WHOLE}, {_ONE}", _BARE, "ms", "lower", None, None, beside("ours", _latency(15), **whole), _REAL, 3),
        Row(
            f"{_WHOLE}, fast steps, {_IN_FLIGHT}", _BARE, _PER_SECOND, "higher", None, None,
            beside("fast", _rate(96), **whole), _REAL, 3,
        ),
        Row(
            f"{_WHOLE}, fast steps, {_ONE}", _BARE, "ms", "lower", None, None,
            beside("fast", _latency(15), **whole), _REAL, 3,
        ),
        Row(
            "memory of an open saga, 10,000 open", _BARE, "KiB", "lower", 1 / 1.2, 1 / 1.1,
            beside("ours", _memory(10_000)), "of the worker, which keeps 1,000 in its cache on either side", 1,
        ),
        Row(
            f"{_FAST}, {_IN_FLIGHT}, {_PRODUCTION}", _BARE, _PER_SECOND, "higher", 1.8, 2.2,
            beside("fast", _rate(96), _PRODUCTION), _SAME,
        ),
        Row(
            f"{_FAST}, {_ONE}, {_PRODUCTION}", _BARE, "ms", "lower", 1.8, 2.2,
            beside("fast", _latency(15), _PRODUCTION), _SAME,
        ),
        Row(
            f"{_THREE}, {_IN_FLIGHT}, {_PRODUCTION}", _BARE, _PER_SECOND, "higher", None, None,
            beside("ours", _rate(96), _PRODUCTION), _SAME, 3,
        ),
        Row(
            f"{_THREE}, {_IN_FLIGHT}", "DBOS on PostgreSQL", _PER_SECOND, "higher", None, None,
            lambda: _beside_dbos(servers, "ours", _rate(96)), _DBOS, 3,
        ),
        Row(
            f"{_FAST}, {_IN_FLIGHT}", "DBOS on PostgreSQL", _PER_SECOND, "higher", None, None,
            lambda: _beside_dbos(servers, "fast", _rate(96)), _DBOS, 3,
        ),
        Row(
            f"{_FAST}, {_ONE}", "DBOS on PostgreSQL", "ms", "lower", None, None,
            lambda: _beside_dbos(servers, "fast", _latency(15)), _DBOS, 3,
        ),
    ]  # fmt: skip


def _rate(count: int) -> Of:
    return lambda side: side.rate(count)


def _latency(count: int) -> Of:
    return lambda side: side.latency(count)


def _processor(count: int) -> Of:
    return lambda side: side.processor(count)


def _memory(count: int) -> Of:
    return lambda side: side.memory(count)


@asynccontextmanager
async def _beside(servers: Servers, side: str, measure: Of, server: str, **real: str) -> AsyncIterator[Sides]:
    address = await servers.address(server)
    if real:
        real["database"] = (await servers.bench.postgres.new_database()).template
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(Runner.ours(servers.bench, side, address, **real))
        theirs = await stack.enter_async_context(Runner.ours(servers.bench, "bare", address))
        yield Sides(measure(ours), measure(theirs), note=ours.told_legs)


@asynccontextmanager
async def _beside_dbos(servers: Servers, side: str, measure: Of) -> AsyncIterator[Sides]:
    address = await servers.address(_PRODUCTION)
    async with Runner.ours(servers.bench, side, address) as ours, Runner.dbos(servers.bench) as theirs:
        yield Sides(measure(ours), measure(theirs))


@asynccontextmanager
async def _sandbox(servers: Servers, *, is_bound: bool) -> AsyncIterator[Sides]:
    async def bound() -> float:
        return 3.0

    async with Runner.ours(servers.bench, "bare", await servers.address("dev")) as process:
        yield Sides(process.sandbox("ours", 100), bound if is_bound else process.sandbox("bare", 100))
