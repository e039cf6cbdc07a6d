"""A consumer of `faststream` at work, in its own environment: reads a JSON job a line, prints a JSON answer a line.

Its subscriber reads a quorum queue, validates each body with pydantic and acknowledges after the handler, which only counts:
no database, no inbox.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import pydantic
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue


class LineAdded(pydantic.BaseModel):
    sku: str
    quantity: int
    price_cents: int
    currency: str


class Peer:
    async def open(self, bus: str, queue: str, prefetch: int) -> dict:
        self.broker = RabbitBroker(bus, logger=None)
        self.count, self.wanted, self.first = 0, 0, 0.0
        self.done = asyncio.Event()
        subscriber = self.broker.subscriber(
            RabbitQueue(queue, declare=False),
            channel=Channel(prefetch_count=prefetch),
        )

        @subscriber
        async def handle(line: LineAdded) -> None:
            if self.count == 0:
                self.first = time.perf_counter()
            self.count += 1
            if self.count == self.wanted:
                self.done.set()

        return {}

    async def consume(self, count: int) -> dict:
        """Handle so many messages that wait, then leave the queue."""
        self.count, self.wanted = 0, count
        self.done.clear()
        await self.broker.start()
        await self.done.wait()
        seconds = time.perf_counter() - self.first
        await self.broker.stop()
        return {"seconds": seconds}


async def main() -> None:
    gc.collect()  # its garbage is collected as our side's
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        print(json.dumps(await getattr(peer, job.pop("do"))(**job)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
