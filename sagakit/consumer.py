"""Bus to effect: the inbox row and the effect in one transaction, then the acknowledgement.

What fails for its own fault goes to the waiting room, with the later events of its stream behind it, and is acknowledged: no
other key ever waits for it (G5). What fails for the machine's fault is raised, and comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from uuid import UUID

import structlog
from opentelemetry.trace import SpanKind

from sagakit import crash_points
from sagakit.applying import Applier, Irregular, Tally
from sagakit.effects import Effect, Effects, one_by_one
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.ports import ReadModels, Refused
from sagakit.retrier import Before, Retrier
from sagakit.sql import consumers, inbox
from sagakit.sql.faults import blames_event, machine_trouble
from sagakit.sql.refused import keep_refused
from sagakit.telemetry import child_span, count

_log = structlog.get_logger("sagakit.consumer")
_SIDE_BY_SIDE = 32


class Consumer:
    """Handles the events of one durable consumer.

    ``effect`` runs in the inbox's transaction and happens once; ``effects``, in its place, is what the events of a batch do
    together. ``before`` runs ahead of it, outside any transaction, and may be repeated: it is for what cannot share a
    transaction, such as starting a workflow under a fixed id. Run `retrier` beside it, or what failed once is never tried again.
    """

    def __init__(
        self,
        name: str,
        tables: ReadModels,
        patience: Patience,
        *,
        effect: Effect | None = None,
        effects: Effects | None = None,
        before: Before | None = None,
    ) -> None:
        """Name the consumer, and say what it does with an event and how often it tries."""
        self.name, self._tables, self._before = name, tables, before
        self._applier = Applier(name, one_by_one(effect) if effect else effects, patience, self._span)
        # Effects on one read model touch shared rows: side by side they would only wait for, or lock out, each other.
        self._one_effect = asyncio.Lock()
        self.retrier = Retrier(self._applier, tables, self._one_effect, before)
        self._is_registered = False
        self._settled: set[UUID] = set()

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        """Handle a batch; returns when the effect, or the setting aside, of each is committed.

        Raises `InfrastructureError` when the machine failed, or the consumer is paused: the batch is to come again.
        """
        crash_points.reached(crash_points.CONSUMER_RECEIVED)
        with machine_trouble(f"consumer {self.name}"):
            await self._register()
            # What was committed when a batch had to come again is not handled, and not counted, a second time.
            wanted = [event for event in events if event.id not in self._settled] if self._settled else events
            ready, failures = await self._run_ahead(wanted) if self._before is not None else (None, {})
            trouble = next((error for error in failures.values() if not blames_event(error)), None)
            if trouble is not None:
                wanted = _without_troubled(wanted, failures)
            tally = await self._commit(wanted, {id_: error for id_, error in failures.items() if blames_event(error)}, ready)
            crash_points.reached(crash_points.CONSUMER_COMMITTED)
            tally.tell(self.name)
            if tally.retrying:
                self.retrier.wake()
            if trouble is not None:
                self._settled.update(event.id for event in wanted)
                raise trouble
            if self._settled:
                self._settled.difference_update(event.id for event in events)

    async def refuse(self, refused: Refused) -> None:
        """Keep a message that is no event, in part. Returns once it is committed; the same one again changes nothing."""
        with machine_trouble(f"consumer {self.name}"):
            async with self._tables.transaction() as session:
                await keep_refused(session, self.name, refused)
        count("sagakit.consumer.refused", consumer=self.name)
        _log.error("refused a message", consumer=self.name, message_id=refused.message_id, reason=refused.reason[:200])

    async def _register(self) -> None:
        if not self._is_registered:
            async with self._tables.transaction() as session:
                await consumers.register(session, self.name)
            self._is_registered = True

    async def _commit(self, events: Sequence[RecordedEvent], failures: dict[UUID, Exception], ready: set[UUID] | None) -> Tally:
        async with self._one_effect:
            if not failures:
                try:
                    async with self._tables.transaction() as session:
                        return await self._applier.all_at_once(session, events, ready)
                except Irregular as reason:
                    _log.info("one by one", consumer=self.name, reason=str(reason))
            async with self._tables.transaction() as session:
                return await self._applier.one_by_one(session, events, failures, ready)

    async def _run_ahead(self, events: Sequence[RecordedEvent]) -> tuple[set[UUID], dict[UUID, Exception]]:
        """Run ``before`` for what is new, streams side by side, in order within a stream up to its first failure.

        Return what it has been run for, and the failures.
        """
        async with self._tables.transaction() as session:
            await consumers.require_running(session, self.name)
            looks = await inbox.survey(session, self.name, events)
        streams: dict[inbox.Key, list[RecordedEvent]] = {}
        for event, look in zip(events, looks, strict=True):
            if not (look.is_handled or look.is_waiting or look.is_behind or event.version <= look.head):
                streams.setdefault(inbox.key_of(event), []).append(event)
        ready: set[UUID] = set()
        failures: dict[UUID, Exception] = {}
        room = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def run(members: Sequence[RecordedEvent]) -> None:
            async with room:
                for event in members:
                    try:
                        with self._span(event):
                            await self._before(event)  # type: ignore[misc]
                    except Exception as error:  # noqa: BLE001 judged by the caller
                        failures[event.id] = error
                        return
                    ready.add(event.id)

        await asyncio.gather(*(run(members) for members in streams.values()))
        return ready, failures

    def _span(self, event: RecordedEvent) -> AbstractContextManager[object]:
        about = {"messaging.operation.type": "process", "messaging.message.id": str(event.id)}
        return child_span(f"process {self.name}", event.traceparent, SpanKind.CONSUMER, about)


def _without_troubled(events: Sequence[RecordedEvent], failures: dict[UUID, Exception]) -> list[RecordedEvent]:
    """Leave out what the machine failed, and all behind it in its stream."""
    stopped: set[inbox.Key] = set()
    kept: list[RecordedEvent] = []
    for event in events:
        if event.id in failures and not blames_event(failures[event.id]):
            stopped.add(inbox.key_of(event))
        if inbox.key_of(event) not in stopped:
            kept.append(event)
    return kept
