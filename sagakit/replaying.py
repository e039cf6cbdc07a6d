"""A range of the log to one consumer once more: a second, bounded cursor beside the live one of the same feed."""

from __future__ import annotations

import structlog

from sagakit.errors import NotSendable
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.ports import Bus, LogReader, Subscription
from sagakit.shared_log import SharedLog
from sagakit.sql import feeding
from sagakit.sql.tables import ReplayRow
from sagakit.unsent import as_infrastructure

_log = structlog.get_logger("sagakit.feed")


class Replaying:
    """Sends what one replay asks for, a page at a time.

    Delivery: at least once, under the same ids, so a consumer with an inbox has no second effect. Ordering: log order. It
    never overtakes the live cursor: what lies before that is not sent yet, and comes by itself. Its place is kept with each
    page, fenced by the feed's lease; a crash repeats a page.
    """

    def __init__(self, row: ReplayRow, subscription: Subscription, log: SharedLog, leader: Leader, bus: Bus) -> None:
        """Take what is asked for, of whom, from which log, under which lease, and the bus."""
        self.id, self._last, self._position = row.id, row.last, max(row.position, row.first - 1)
        self._subscription, self._log, self._leader, self._bus = subscription, log, leader, bus
        self._reader: LogReader = log.store.reader(self._position)

    async def step(self, held: frozenset[str], limit: int) -> bool:
        """Send a page; answer whether the replay has ended. Raises what the bus answers. Repeated after that by a new one."""
        end = min(self._last, self._leader.position)
        if self._position >= end:
            await self._note(0, is_done=True)
            return True
        page = await self._reader.read(limit)
        if not page:
            return False  # a hole that may still be filled
        wanted = [
            event
            for event in page
            if event.position <= end and event.type in self._subscription.event_types and event.stream not in held
        ]
        sent = await self._send(wanted)
        self._position = page[-1].position
        is_done = self._position >= end
        await self._note(sent, is_done=is_done)
        return is_done

    async def _send(self, events: list[RecordedEvent]) -> int:
        answers = await self._bus.publish(self._subscription, events) if events else []
        for event, answer in zip(events, answers, strict=True):
            if isinstance(answer, NotSendable):
                _log.error("not replayed", consumer=self._subscription.consumer, position=event.position, reason=str(answer))
            elif answer is not None:
                raise as_infrastructure(answer)
        return sum(answer is None for answer in answers)

    async def _note(self, sent: int, *, is_done: bool) -> None:
        async with self._leader.transaction() as session:
            await feeding.replayed(session, self.id, min(self._position, self._last), sent, is_done=is_done)
            await self._leader.advance_within(session, self._leader.position)
