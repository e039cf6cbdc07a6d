"""Consumes a queue in a process of its own: `wire_consumer AMQP_URL QUEUE`. Prints ``event <id>`` for each that was handled.

A line of standard input ends it; the last line is ``rss`` and the most memory it ever had, in KiB.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sagakit.messages import RecordedEvent
from sagakit.ports import Subscription
from sagakit.rabbitmq.bus import RabbitBus


async def main(url: str, queue: str) -> None:
    bus = RabbitBus(url, 5, 50)
    await bus.open()

    async def handle(events: Sequence[RecordedEvent]) -> None:
        for event in events:
            print("event", event.id, flush=True)

    stop = await bus.consume(Subscription(queue, "elsewhere", frozenset()), handle)
    await asyncio.to_thread(sys.stdin.readline)
    await stop()
    await bus.close()
    # Not `getrusage`, which counts what the parent had when it forked.
    (most,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print("rss", most, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
