"""Bus to effect: the inbox row and the effect in one transaction, then the acknowledgement.

Attempts are counted here, with a growing pause that holds back this stream only; then the event is parked, and the later
events of its stream wait behind it in order (G5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from opentelemetry.trace import SpanKind
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import InfrastructureError, TooManyHops
from sagakit.messages import RecordedEvent
from sagakit.ports import ReadModels
from sagakit.sql import bookkeeping, consumers
from sagakit.telemetry import child_span

_log = structlog.get_logger("sagakit.consumer")
Effect = Callable[[AsyncSession, RecordedEvent], Awaitable[None]]
Before = Callable[[RecordedEvent], Awaitable[None]]


class Consumer:
    """Handles the events of one durable consumer.

    ``effect`` runs in the inbox's transaction and happens once. ``before`` runs ahead of it, outside any transaction, and
    may be repeated: it is for what cannot share a transaction, such as starting a workflow under a fixed id.
    """

    def __init__(
        self, name: str, tables: ReadModels, attempts: int, *, effect: Effect | None = None, before: Before | None = None
    ) -> None:
        """Name the consumer and say what it does with an event."""
        self.name, self._tables, self._attempts = name, tables, attempts
        self._effect, self._before = effect, before
        # Effects on one read model touch shared rows: side by side they would only wait for, or lock out, each other.
        self._one_effect = asyncio.Lock()

    async def handle(self, events: Sequence[RecordedEvent]) -> None:
        """Handle events, streams side by side; returns when the effect, or the parking, of each is committed."""
        streams: dict[str, list[RecordedEvent]] = {}
        for event in events:
            streams.setdefault(event.stream, []).append(event)
        await asyncio.gather(*(self._handle_stream(members) for members in streams.values()))

    async def _handle_stream(self, events: Sequence[RecordedEvent]) -> None:
        for event in events:
            await self._handle_one(event)

    async def _handle_one(self, event: RecordedEvent) -> None:
        attempt = 0
        attributes = {"messaging.operation.type": "process", "messaging.message.id": str(event.id)}
        with child_span(f"process {self.name}", event.metadata.traceparent, SpanKind.CONSUMER, attributes):
            while True:
                try:
                    await self._handle_once(event)
                except InfrastructureError as error:
                    # The machine failed, not the message: no attempt is spent, and nothing is parked.
                    _log.warning("waiting", consumer=self.name, reason=str(error))
                    await asyncio.sleep(min(5.0, 0.1 * 2 ** min(attempt, 6)))
                except Exception as error:  # noqa: BLE001 whatever a handler raises is counted, logged and parked
                    attempt += 1
                    _log.exception("failed", consumer=self.name, stream=event.stream, attempt=attempt)
                    if attempt >= self._attempts or isinstance(error, TooManyHops):
                        async with self._tables.transaction() as session:
                            await bookkeeping.park(session, self.name, event, f"{type(error).__name__}: {error}")
                        return
                    await asyncio.sleep(min(5.0, 0.1 * 2**attempt))
                else:
                    return

    async def _handle_once(self, event: RecordedEvent) -> None:
        if self._before is not None:
            async with self._tables.transaction() as session:
                await consumers.require_running(session, self.name)
                if not await self._is_wanted(session, event):
                    return
            await self._before(event)
        async with self._one_effect, self._tables.transaction() as session:
            await consumers.require_running(session, self.name)
            if self._effect is None:
                await bookkeeping.enter_inbox(session, self.name, event)
            elif await self._is_wanted(session, event) and await bookkeeping.enter_inbox(session, self.name, event):
                await self._effect(session, event)

    async def _is_wanted(self, session: AsyncSession, event: RecordedEvent) -> bool:
        """Tell whether the event is still to be handled; one that stands behind a parked event is parked here."""
        standing = await bookkeeping.standing(session, self.name, event)
        if standing == "behind":
            await bookkeeping.park(session, self.name, event, bookkeeping.BEHIND)
        return standing == "new"
