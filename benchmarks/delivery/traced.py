"""Our side in a process of its own, from command to effect, with tracing or without: a provider can be set once in a process."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from benchmarks.bench import Bench
from benchmarks.databases import Postgres
from benchmarks.delivery.domain import services
from benchmarks.delivery.stage import Stage
from benchmarks.domain import AddLine, Basket
from benchmarks.measure import Measure, Scale, rate
from sagakit.repository import Context
from sagakit.telemetry import resource_of, span_processors

IN_FLIGHT = 32


@asynccontextmanager
async def running(bench: Bench, number: int, share: float | None, count: int) -> AsyncIterator[Measure]:
    """Start the process; each measure has it take so many commands to their effects, and returns events per second."""
    job = {"url": bench.postgres.url, "bus": bench.bus, "folder": str(bench.folder), "number": number, "share": share}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.delivery.traced", json.dumps(job),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if process.stdin is None or process.stdout is None:
        raise AssertionError("started without pipes")
    stdin, stdout = process.stdin, process.stdout

    async def measure() -> float:
        stdin.write(b"%d\n" % count)
        line = await stdout.readline()
        if not line:
            raise AssertionError("the traced process ended; its error stands above")
        return float(line)

    try:
        yield measure
    finally:
        stdin.close()
        await process.wait()


async def _main(job: dict[str, Any]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = Path(job["folder"])
    if job["share"] is not None:
        provider = TracerProvider(ParentBased(TraceIdRatioBased(job["share"])), resource_of("bench"))
        for processor in span_processors("bench", folder, None):
            provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
    bench = Bench(Postgres(job["url"], f"t{job['number']}b"), folder, Scale(), job["bus"])
    async with (
        Stage.opened(bench, partial(services, job["number"])) as stage,
        stage.running("relay", "consumers"),
    ):
        total = 0
        while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            count = int(line)
            commands = [(AddLine(basket=name), Context("benchmark", key=f"key-{name}")) for name in bench.names(count)]
            start = time.perf_counter()
            await rate(commands, IN_FLIGHT, lambda one: stage.producer.repository.handle(Basket, *one))
            total += count
            print(count / (await stage.affected(total) - start), flush=True)  # noqa: T201 the answer to who started it


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
