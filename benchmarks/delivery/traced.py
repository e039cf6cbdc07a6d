"""From command to effect in one process, with tracing switched on and off every few hundred commands.

Two processes of the same code, and two seconds of one process, may differ by more than what tracing takes; neighbouring
stretches of one process differ least.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from benchmarks.bench import Bench
from benchmarks.delivery.domain import services
from benchmarks.delivery.stage import Stage
from benchmarks.domain import AddLine, Basket
from benchmarks.measure import Sides, rate
from sagakit.repository import Context
from sagakit.telemetry import is_traced, resource_of, span_processors

SHARE = 0.05
IN_FLIGHT = 32
STRETCH = 250


@asynccontextmanager
async def tracing(bench: Bench, number: int, count: int) -> AsyncIterator[Sides]:
    """Command to effect with 5 % of the traces sampled and exported, against no tracing."""
    provider = TracerProvider(ParentBased(TraceIdRatioBased(SHARE)), resource_of("bench"))
    for processor in span_processors("bench", bench.folder, None):
        provider.add_span_processor(processor)
    stretches = max(bench.scale.of(count) // STRETCH, 1)
    untraced: list[float] = []  # measured together with the other side, one stretch beside the other
    async with Stage.opened(bench, partial(services, number)) as stage, stage.running("relay", "consumers"):

        async def traced() -> float:
            on = off = 0.0
            for turn in range(stretches):
                if turn % 2:
                    on += await _traced(bench, stage, provider)
                    off += await _seconds(bench, stage)
                else:
                    off += await _seconds(bench, stage)
                    on += await _traced(bench, stage, provider)
            untraced.append(stretches * STRETCH / off)
            return stretches * STRETCH / on

        async def not_traced() -> float:
            return untraced.pop()

        try:
            yield Sides(traced, not_traced)
        finally:
            provider.shutdown()


async def _traced(bench: Bench, stage: Stage, provider: TracerProvider) -> float:
    """Also wait for the export of the spans: it would take its share of what comes next, which has none."""
    with _set(provider):
        seconds = await _seconds(bench, stage)
        start = time.perf_counter()
        provider.force_flush()
        return seconds + time.perf_counter() - start


async def _seconds(bench: Bench, stage: Stage) -> float:
    commands = [(AddLine(basket=name), Context("benchmark", key=f"key-{name}")) for name in bench.names(STRETCH)]
    start = time.perf_counter()
    await rate(commands, IN_FLIGHT, lambda one: stage.producer.repository.handle(Basket, *one))
    stage.filled += STRETCH
    return await stage.affected(stage.filled) - start


@contextmanager
def _set(provider: TracerProvider) -> Iterator[None]:
    """Trace for a block. OpenTelemetry lets a provider be set but once, and not be taken away."""
    trace._TRACER_PROVIDER = provider  # noqa: SLF001 as above
    try:
        if not is_traced():
            raise AssertionError("OpenTelemetry keeps its provider elsewhere now; the measurement counts for nothing")
        yield
    finally:
        trace._TRACER_PROVIDER = None  # noqa: SLF001 as above
