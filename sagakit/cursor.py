"""Where one feed stands in the log: it reads ahead of what is published, and marks behind it, both beside the publishing."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from uuid import UUID

from sagakit import crash_points
from sagakit.leadership import Leader
from sagakit.messages import RecordedEvent
from sagakit.shared_log import SharedLog

_PAGE = 500
# Marks behind what was published, at most so often while there is more to do; behind what nobody wanted, more seldom.
_BUSY_SECONDS = 0.1
_UNWANTED_SECONDS = 1.0


class Cursor:
    """The way of one leader through the log, over the events of some types.

    The checkpoint only ever moves over events that were `passed`, in log order, and is fenced by the lease (G3, I8). It may
    trail what was passed by a tenth of a second: that much is published again after a crash.
    """

    def __init__(self, log: SharedLog, leader: Leader, types: frozenset[str]) -> None:
        """Take the log, the lease on the checkpoint, and which events are wanted."""
        self._log, self._leader, self._types = log, leader, types
        self.waiting: deque[RecordedEvent] = deque()
        self._reading: asyncio.Task[list[RecordedEvent]] | None = None
        self._marking: asyncio.Task[None] | None = None
        self._marked_at = 0.0

    async def open(self) -> None:
        """Begin at the checkpoint. Raises `LogWentBack`."""
        await self._leader.reader(self._log.store)
        self._follower = self._log.follow(self._leader.position)
        self._passed = self._seen = self._leader.position
        self._passed_id: UUID | None = None
        self._seen_id: UUID | None = None
        self._is_wanted = False  # whether something that was published stands behind the mark

    async def read(self, batch: int) -> bool:
        """Read on until something waits or nothing more is there; then read ahead beside what follows.

        Answers whether anything was read.
        """
        found = False
        while True:
            if self._reading is not None and (self._reading.done() or not self.waiting):
                page = await self._reading
                self._reading = None
                if not page:
                    return found
                found = True
                self._take(page)
            if self._reading is None and len(self.waiting) < 2 * batch:
                self._reading = asyncio.create_task(self._follower.read(max(_PAGE, batch)))
            if self.waiting or self._reading is None:
                return found

    def _take(self, page: list[RecordedEvent]) -> None:
        types = self._types
        self.waiting.extend([event for event in page if event.type in types])
        self._seen, self._seen_id = page[-1].position, page[-1].id
        self._pass_unwanted()

    def _pass_unwanted(self) -> None:
        if not self.waiting:
            self._passed, self._passed_id = self._seen, self._seen_id

    def next(self, count: int) -> list[RecordedEvent]:
        """Return what waits, at most so many; it goes on waiting until it is `passed`."""
        return list(islice(self.waiting, count))

    def passed(self, count: int) -> None:
        """Take the first ``count`` of what waits for done."""
        if not count:
            return
        for _ in range(count):
            last = self.waiting.popleft()
        self._passed, self._passed_id, self._is_wanted = last.position, last.id, True
        self._pass_unwanted()

    async def mark(self) -> None:
        """Move the checkpoint behind what was passed, beside what goes on, when it is time. Raises what the last move met."""
        if self._marking is not None:
            if not self._marking.done():
                return
            marking, self._marking = self._marking, None
            await marking
        pause = 0.0 if self._is_wanted and not self.waiting else _BUSY_SECONDS if self._is_wanted else _UNWANTED_SECONDS
        if self._passed == self._leader.position or asyncio.get_running_loop().time() < self._marked_at + pause:
            await self._leader.renew()
        else:
            self._marking = asyncio.create_task(self._advance())

    async def settle(self) -> None:
        """Have the checkpoint moved behind all that was passed, now. Raises `LeaseLost`."""
        if self._marking is not None:
            marking, self._marking = self._marking, None
            await marking
        if self._passed != self._leader.position:
            await self._advance()

    async def _advance(self) -> None:
        position, event_id, self._is_wanted = self._passed, self._passed_id, False
        self._marked_at = asyncio.get_running_loop().time()
        await self._leader.advance(position, event_id)
        crash_points.reached(crash_points.FEED_ADVANCED)

    async def close(self) -> None:
        """End what goes on beside; nothing more is marked."""
        for task in (self._reading, self._marking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._reading = self._marking = None
