"""The head of a service's log, read once for all who follow it: relays feed many subscriptions from the same events."""

from __future__ import annotations

import asyncio
from bisect import bisect_right

from sagakit.messages import RecordedEvent
from sagakit.ports import EventStore, LogReader

_PAGE = 500
_KEPT = 2000


class SharedLog:
    """The latest events of one log, kept in memory, at most 4,000 of them.

    Delivery and ordering are those of the one reader (G2): what it has not proven to be next is not here.
    """

    def __init__(self, store: EventStore) -> None:
        """Take the log; nothing is read before somebody asks."""
        self.store = store
        self._events: list[RecordedEvent] = []
        self._positions: list[int] = []
        self._start = self._end = -1  # positions: what is kept lies behind start, and up to end
        self._reader: LogReader | None = None
        self._reading = asyncio.Lock()
        self._waiting: set[asyncio.Event] = set()
        store.on_commit(self._wake)

    def follow(self, after: int) -> Follower:
        """Open a way through the log behind a position."""
        return Follower(self, after)

    def wake(self, event: asyncio.Event) -> None:
        """Set an event soon after each commit, as `EventStore.on_commit` does, until `let_sleep`."""
        self._waiting.add(event)

    def let_sleep(self, event: asyncio.Event) -> None:
        """Set it no more."""
        self._waiting.discard(event)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def open(self) -> None:
        """Begin to keep events, from what is the head now. Repeating it changes nothing."""
        if self._reader is not None:
            return
        async with self._reading:
            if self._reader is None:
                self._start = self._end = await self.store.head()
                self._reader = self.store.reader(self._end)

    def has(self, after: int) -> bool:
        """Tell whether what follows a position is kept here, or read next."""
        return self._reader is not None and self._start <= after <= self._end

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return what follows a position that `has` answered for; empty when there is none yet."""
        if after == self._end:
            async with self._reading:
                if after == self._end and self._reader is not None:
                    self._keep(await self._reader.read(_PAGE))
        first = bisect_right(self._positions, after)
        return self._events[first : first + limit]

    def _keep(self, page: list[RecordedEvent]) -> None:
        if not page:
            return
        self._events += page
        self._positions += [event.position for event in page]
        self._end = page[-1].position
        if len(self._events) > 2 * _KEPT:
            self._start = self._positions[-_KEPT - 1]
            del self._events[:-_KEPT], self._positions[:-_KEPT]


class Follower:
    """Implements the port `LogReader` for one who follows: from the shared head, or alone while it is behind that."""

    def __init__(self, log: SharedLog, after: int) -> None:
        """Stand behind a position."""
        self._log, self._after = log, after
        self._alone: LogReader | None = None

    async def read(self, limit: int) -> list[RecordedEvent]:
        """See the port."""
        await self._log.open()
        if self._log.has(self._after):
            self._alone = None
            events = await self._log.read(self._after, limit)
        else:
            if self._alone is None:
                self._alone = self._log.store.reader(self._after)
            events = await self._alone.read(limit)
        if events:
            self._after = events[-1].position
        return events
