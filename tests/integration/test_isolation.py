"""One stopped consumer changes neither the producers' rate nor the latency of another (isolation, failures B17)."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import text

from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Append, Subscription
from sagakit.rabbitmq.bus import RabbitBus
from sagakit.relay import Relay
from sagakit.sql import subscriptions
from sagakit.system import OpenService
from tests.support.feeding import record, row_of, running
from tests.support.shop import added
from tests.support.stores import open_counting
from tests.support.waiting import until

WAITING = 100_000
LIMIT = 2000
SECONDS = 6.0
_FILL = """
insert into events (stream, version, id, type, schema_version, data, metadata, recorded_at)
select 'counter-old' || (n % 1000), n / 1000 + 1, gen_random_uuid(), 'counter.added', 1, '{"amount": 1}',
    '{"correlation_id": "c"}', now()
from generate_series(0, :count - 1) n
"""


class Probe:
    """Appends for some seconds and notes how long each event took to arrive at the other consumer."""

    def __init__(self, opened: OpenService) -> None:
        self._opened = opened
        self._sent: dict[uuid.UUID, float] = {}
        self.seconds: list[float] = []
        self.arrived: list[tuple[str, int]] = []
        self._version = 0

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        now = time.perf_counter()
        for event in events:
            self.arrived.append((event.stream, event.version))
            if event.id in self._sent:
                self.seconds.append(now - self._sent[event.id])

    async def run(self) -> tuple[float, float]:
        """Return the appends a second and the median of seconds from commit to arrival."""
        self.seconds.clear()
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + SECONDS:
            event = added()
            await self._opened.store.append(Append("counter-new", self._version, (event,)))
            self._sent[event.id] = time.perf_counter()
            self._version += 1
            count += 1
            await asyncio.sleep(0.01)
        rate = count / (time.perf_counter() - began)
        await until(lambda: len(self.arrived) == self._version, "all that was appended", 60)
        return rate, statistics.median(self.seconds)


async def test_a_stopped_consumer_with_100_000_waiting_events_holds_nobody_back(
    postgres_url: str, rabbitmq_url: str, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex[:8]
    quick = Subscription(f"quick{run}", "counting", frozenset({"counter.added"}))
    stopped = Subscription(f"stopped{run}", "counting", frozenset({"counter.added"}), 1, LIMIT)
    async with open_counting(tmp_path, postgres_url) as opened:
        async with opened.tables.transaction() as session:
            await (await session.connection()).execute(text(_FILL), {"count": WAITING})
        await record(opened, quick)
        async with opened.tables.transaction() as session:
            await subscriptions.begin_at(session, quick.consumer, await opened.store.head())
        bus, probe = RabbitBus(rabbitmq_url, 10, 50), Probe(opened)
        await bus.open()
        await bus.declare([quick])
        stop = await bus.consume(quick, probe.handle)

        def lead(name: str) -> Leader:
            return Leader(opened.tables, name, "one", 30)

        async def is_detached() -> bool:
            return (await row_of(opened, stopped.consumer)).detached_at is not None

        try:
            async with running(Relay(opened.store, opened.tables, lead, bus, 200, 0.05)):
                rate, median = await probe.run()
                await record(opened, stopped)  # nobody reads its queue
                await until(is_detached, "it to be left alone", 90)
                rate_beside, median_beside = await probe.run()
                waiting = await bus.backlog(stopped)
        finally:
            await stop()
            await bus.close()
    print(
        f"\nappends/s {rate:.0f}, then {rate_beside:.0f} (ratio {rate_beside / rate:.2f}); commit to arrival p50 "
        f"{1000 * median:.1f} ms, then {1000 * median_beside:.1f} ms (ratio {median_beside / median:.2f}); {waiting} in the queue"
    )
    assert LIMIT < waiting < WAITING // 2
    assert probe.arrived == [("counter-new", version) for version in range(1, len(probe.arrived) + 1)]
