"""Snapshots of aggregates: a cache in the database, never the truth.

One is used only when its checksum is right, the same code would fold to it, and the event it stands on is in the log.
Anything else is thrown away, counted, and the aggregate is folded from its events. Taken outside a command's latency.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import replace

import structlog
from pydantic import ValidationError

from sagakit.aggregate import Aggregate
from sagakit.errors import SagakitError
from sagakit.fingerprint import fingerprint
from sagakit.image import Live
from sagakit.messages import Registry
from sagakit.ports import EventStore, Snapshot
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.snapshots")


class Snapshots:
    """Restores and takes the snapshots of one service. ``counts`` says what became of them, discards by reason."""

    def __init__(self, store: EventStore, registry: Registry) -> None:
        """Take the log whose database holds them."""
        self._store, self._registry = store, registry
        self._fingerprints: dict[type[Aggregate], str] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self.counts: Counter[str] = Counter()

    async def restore(self, aggregate_type: type[Aggregate], stream: str) -> Live | None:
        """Return the aggregate as its snapshot holds it; None without one that can be used.

        The caller still has to find the event of ``event_id`` at its version in the log, or `discard` it.
        """
        if not aggregate_type.snapshot_every:
            return None
        snapshot = await self._store.load_snapshot(stream)
        if snapshot is None:
            return None
        if snapshot.checksum != _checksum(snapshot):
            self.discard(stream, "checksum")
            return None
        if snapshot.fingerprint != self._fingerprint(aggregate_type):
            self.discard(stream, "other_code")
            return None
        try:
            aggregate = aggregate_type.model_validate_json(snapshot.state)
        except ValidationError:
            self.discard(stream, "schema")
            return None
        self._count("used")
        return Live(aggregate, len(snapshot.state), snapshot.event_id)

    def discard(self, stream: str, reason: str) -> None:
        """Note that a snapshot was not used."""
        _log.warning("snapshot discarded", stream=stream, reason=reason)
        self._count(f"discarded_{reason}")

    def consider(self, stream: str, live: Live, before: int) -> None:
        """Take a snapshot beside the work when the aggregate crossed one of its marks since version ``before``."""
        every = type(live.aggregate).snapshot_every
        if not every or live.aggregate.version // every == before // every or stream in self._under_way:
            return
        task = asyncio.create_task(self._take(stream, live))
        self._under_way[stream] = task
        task.add_done_callback(lambda _: self._under_way.pop(stream, None))

    async def settle(self) -> None:
        """Wait for the snapshots that are being taken."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _take(self, stream: str, live: Live) -> None:
        aggregate, event_id = live.aggregate, live.event_id
        if event_id is None:
            return
        # Up to the save nothing is awaited, so the state, its version and its event belong together.
        state, aggregate_type = aggregate.model_dump_json(), type(aggregate)
        snapshot = Snapshot(stream, aggregate.version, event_id, self._fingerprint(aggregate_type), "", state)
        try:
            if aggregate_type.model_validate_json(state) != aggregate:
                self._count("not_restorable")
                _log.warning("its state does not come back from JSON, so no snapshot is taken", stream=stream)
                return
            await self._store.save_snapshot(replace(snapshot, checksum=_checksum(snapshot)))
            self._count("taken")
        except (SagakitError, ValidationError) as error:
            self._count("not_taken")
            _log.warning("no snapshot", stream=stream, reason=type(error).__name__)

    def _fingerprint(self, aggregate_type: type[Aggregate]) -> str:
        if aggregate_type not in self._fingerprints:
            self._fingerprints[aggregate_type] = fingerprint(aggregate_type, self._registry)
        return self._fingerprints[aggregate_type]

    def _count(self, what: str) -> None:
        self.counts[what] += 1
        count("sagakit.snapshots", service=self._store.service, result=what)


def _checksum(snapshot: Snapshot) -> str:
    text = f"{snapshot.stream}\0{snapshot.version}\0{snapshot.event_id}\0{snapshot.fingerprint}\0{snapshot.state}"
    return hashlib.sha256(text.encode()).hexdigest()
