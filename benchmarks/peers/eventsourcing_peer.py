"""The `eventsourcing` library at work, in its own environment: reads a JSON job a line, prints a JSON answer a line.

It runs in its safe default mode (table lock, NOTIFY in the transaction), with a connection for each thread kept open.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent


class Basket(Aggregate):
    def __init__(self) -> None:
        self.lines = 0
        self.total_cents = 0

    class LineAdded(Aggregate.Event):
        sku: str
        quantity: int
        price_cents: int
        currency: str
        class_version = 2

        @staticmethod
        def upcast_v1_v2(state: dict) -> None:
            state["currency"] = "GBP"

    @event(LineAdded)
    def add(self, sku: str, quantity: int, price_cents: int, currency: str) -> None:
        self.lines += 1
        self.total_cents += quantity * price_cents


class Bench(Application):
    name = "bench"  # of its table: bench_events


class Peer:
    def open(self, env: dict, threads: int) -> dict:
        self.app = Bench(env={"IS_SNAPSHOTTING_ENABLED": "n", **env})
        self.threads = ThreadPoolExecutor(threads)
        found = {package: version(package) for package in ("eventsourcing", "psycopg")}
        if "SQLITE_DBNAME" in env:
            with self.app.recorder.datastore.get_connection(commit=False) as connection:
                cursor = connection.cursor()
                for pragma in ("journal_mode", "synchronous"):
                    cursor.execute(f"PRAGMA {pragma}")
                    found[pragma] = cursor.fetchone()[0]
        return found

    def append(self, count: int, threads: int) -> dict:
        """Append one event to each of ``count`` new aggregates."""
        template = self._stored(1)[0]
        waiting = iter([replace(template, originator_id=uuid4()) for _ in range(count)])

        def work(_: int) -> None:
            for stored in waiting:
                self.app.recorder.insert_events([stored])

        start = time.perf_counter()
        list(self.threads.map(work, range(threads)))
        return {"seconds": time.perf_counter() - start}

    def seed(self, events: int, old_every: int) -> dict:
        """Store one aggregate of so many events; every ``old_every``-th is of the schema before."""
        stored = self._stored(events)
        if old_every:
            stored = [_as_version_1(one) if n % old_every == 1 else one for n, one in enumerate(stored)]
        self.app.recorder.insert_events(stored)
        return {"id": str(stored[0].originator_id)}

    def load(self, id: str, times: int) -> dict:
        start = time.perf_counter()
        for _ in range(times):
            basket = self.app.repository.get(UUID(id))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "lines": basket.lines, "version": basket.version}

    def read_all(self, page: int) -> dict:
        start, after, read = time.perf_counter(), None, 0
        while notifications := self.app.recorder.select_notifications(after, page, inclusive_of_start=False):
            for notification in notifications:
                self.app.mapper.to_domain_event(notification)
            after, read = notifications[-1].id, read + len(notifications)
        return {"seconds": time.perf_counter() - start, "read": read}

    def _stored(self, events: int) -> list[StoredEvent]:
        basket = Basket()
        for _ in range(events - 1):
            basket.add("WHITE-HANGING-HEART", 6, 255, "GBP")
        if events == 1:  # an event like ours, not the one that only creates
            basket.add("WHITE-HANGING-HEART", 6, 255, "GBP")
            _, added = basket.collect_events()
            return [replace(self.app.mapper.to_stored_event(added), originator_version=1)]
        return [self.app.mapper.to_stored_event(one) for one in basket.collect_events()]


def _as_version_1(stored: StoredEvent) -> StoredEvent:
    state = json.loads(stored.state)
    if "currency" not in state:
        return stored
    del state["currency"], state["class_version"]
    return replace(stored, state=json.dumps(state, separators=(",", ":")).encode())


def main() -> None:
    peer = Peer()
    for line in sys.stdin:
        job = json.loads(line)
        answer = getattr(peer, job.pop("do"))(**job)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
