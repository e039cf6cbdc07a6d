"""Events to effects, inside one transaction: a batch as fast as it goes, or one by one with what fails set aside.

The fast way has no savepoint and no write per event of its own. It gives up at the first thing out of the ordinary, and the
caller begins again, in a new transaction, one by one.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit import crash_points
from sagakit.effects import Effects, Span
from sagakit.messages import RecordedEvent
from sagakit.patience import Patience
from sagakit.sql import consumers, inbox, parking
from sagakit.sql.faults import blames_event
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.consumer")


class Irregular(Exception):
    """Something in a batch wants a closer look."""


@dataclass
class Tally:
    """What became of the events of a batch; told once it is committed."""

    repeats: int = 0
    retrying: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)

    def tell(self, consumer: str) -> None:
        """Count and log what somebody should know."""
        if self.repeats:
            count("sagakit.consumer.repeats", self.repeats, consumer=consumer)
        if self.retrying:
            count("sagakit.consumer.retries", len(self.retrying), consumer=consumer)
            _log.warning("failed, tried again later", consumer=consumer, events=self.retrying)
        for cause, events in (("attempts", self.parked), ("out_of_order", self.out_of_order)):
            if events:
                count("sagakit.consumer.parked", len(events), consumer=consumer, cause=cause)
                _log.error("parked", consumer=consumer, cause=cause, events=events)


class Applier:
    """Applies events for one consumer. ``has_inbox`` is False where a checkpoint in the transaction tells what was handled."""

    def __init__(self, consumer: str, effects: Effects | None, patience: Patience, span: Span, *, has_inbox: bool = True) -> None:
        """Name the consumer, and say what it does with events; without effects the inbox row is all there is."""
        self.consumer, self.patience = consumer, patience
        self._effects, self._span, self._has_inbox = effects, span, has_inbox

    async def all_at_once(
        self, session: AsyncSession, events: Sequence[RecordedEvent], ready: Container[UUID] | None = None
    ) -> Tally:
        """Apply a batch in the order of delivery; only what is ``ready``, when that is given.

        Raises `Irregular`, and whatever is the machine's trouble.
        """
        await consumers.require_running(session, self.consumer)
        looks = await inbox.survey(session, self.consumer, events)
        tally = Tally()
        fresh: list[RecordedEvent] = []
        awkward: list[RecordedEvent] = []
        seen: set[UUID] = set()
        heads: dict[inbox.Key, int] = {}
        for event, look in zip(events, looks, strict=True):
            if look.is_handled or event.id in seen:
                tally.repeats += 1
                continue
            if look.is_waiting or look.is_behind:
                awkward.append(event)
                continue
            if self._has_inbox and event.version <= heads.get(inbox.key_of(event), look.head):
                raise Irregular(f"{event.stream} version {event.version} is out of order")
            if ready is not None and event.id not in ready:
                raise Irregular(f"{event.stream} version {event.version} was behind another one a moment ago")
            seen.add(event.id)
            heads[inbox.key_of(event)] = event.version
            fresh.append(event)
        if fresh:
            await self._apply_fresh(session, fresh, heads)
        for event in awkward:
            await self.one(session, event, tally, ready=ready)
        if self._has_inbox:
            crash_points.reached(crash_points.CONSUMER_AFFECTED)
        await consumers.count_repeats(session, self.consumer, tally.repeats)
        return tally

    async def _apply_fresh(self, session: AsyncSession, fresh: Sequence[RecordedEvent], heads: Mapping[inbox.Key, int]) -> None:
        if self._has_inbox and len(await inbox.enter(session, self.consumer, fresh)) < len(fresh):
            raise Irregular("another process handles one of these events")
        if self._has_inbox:
            crash_points.reached(crash_points.CONSUMER_ENTERED)
        try:
            if self._effects is not None:
                await self._effects(session, fresh, self._span)
                await session.flush()
        except Exception as error:
            if blames_event(error):
                raise Irregular(parking.reason_of(error)) from error
            raise
        if self._has_inbox and await inbox.note_heads(session, self.consumer, fresh) != heads:
            raise Irregular("another process is further in one of these streams")

    async def one_by_one(
        self,
        session: AsyncSession,
        events: Sequence[RecordedEvent],
        failures: Mapping[UUID, Exception] | None = None,
        ready: Container[UUID] | None = None,
    ) -> Tally:
        """Apply a batch with a savepoint for each; ``failures`` names those that have failed already, ahead of it.

        Raises what is the machine's trouble: the whole batch comes again.
        """
        await consumers.require_running(session, self.consumer)
        tally = Tally()
        for event in events:
            await self.one(session, event, tally, (failures or {}).get(event.id), ready)
        await consumers.count_repeats(session, self.consumer, tally.repeats)
        return tally

    async def one(
        self,
        session: AsyncSession,
        event: RecordedEvent,
        tally: Tally,
        failure: Exception | None = None,
        ready: Container[UUID] | None = None,
    ) -> None:
        """Apply one event in a savepoint, or set it aside, whether or not the consumer is held still."""
        (look,) = await inbox.survey(session, self.consumer, [event])
        if look.is_handled:
            tally.repeats += 1
        elif look.is_waiting:
            return
        elif self._has_inbox and event.version <= look.head:
            # Also a repetition whose inbox row was forgotten: it cannot be told from a late one, so a person looks (C4, C9).
            reason = f"out of order: version {event.version} came after version {look.head} of {event.stream} had taken effect"
            await parking.set_aside(session, self.consumer, event, reason, "parked")
            tally.out_of_order.append(_name(event))
        elif look.is_behind:
            await parking.set_aside(session, self.consumer, event, parking.BEHIND, "behind")
        elif failure is not None:
            await self._fail(session, event, failure, tally)
        elif ready is not None and event.id not in ready:
            # What was before it has left the waiting room meanwhile: the retrier runs what has to be run ahead.
            await parking.set_aside(session, self.consumer, event, parking.BEHIND, "retrying", due_at=time.time())
            tally.retrying.append(_name(event))
        else:
            try:
                if not await self.try_one(session, event):
                    tally.repeats += 1
            except Exception as error:
                if not blames_event(error):
                    raise
                await self._fail(session, event, error, tally)

    async def try_one(self, session: AsyncSession, event: RecordedEvent) -> bool:
        """Apply an event in a savepoint, whatever its version; False when it was handled before. Raises the effect's error."""
        async with session.begin_nested():
            if self._has_inbox and not await inbox.enter(session, self.consumer, [event]):
                return False
            if self._effects is not None:
                await self._effects(session, [event], self._span)
                await session.flush()
            if self._has_inbox:
                await inbox.note_heads(session, self.consumer, [event])
        return True

    async def _fail(self, session: AsyncSession, event: RecordedEvent, error: Exception, tally: Tally) -> None:
        _log.warning("failed", consumer=self.consumer, stream=event.stream, version=event.version, exc_info=error)
        state, due_at = self.patience.after(1, error)
        reason = parking.reason_of(error)
        await parking.set_aside(session, self.consumer, event, reason, state, attempts=1, due_at=due_at)
        (tally.parked if state == "parked" else tally.retrying).append(_name(event))


def _name(event: RecordedEvent) -> str:
    return f"{event.stream} {event.version}"
