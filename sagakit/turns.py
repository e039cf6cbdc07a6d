"""Turns: who wants the same thing gets it one after the other, in the order of asking; who is alone waits for nothing."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Locks by name that cost nothing to make: ``take``, or else ``wait``; then ``give``."""

    def __init__(self) -> None:
        """Begin with nothing taken."""
        self._taken: dict[str, deque[asyncio.Future[None]] | None] = {}

    def take(self, name: str) -> bool:
        """Take it when nobody has it; answer whether that was so."""
        if name in self._taken:
            return False
        self._taken[name] = None
        return True

    async def wait(self, name: str) -> None:
        """Wait for one's turn; it is then taken."""
        queue = self._taken[name]
        if queue is None:
            queue = self._taken[name] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(name)  # it came all the same, and goes to the next
            raise

    def give(self, name: str) -> None:
        """Hand it to who has waited longest, or leave it free."""
        queue = self._taken[name]
        while queue:
            turn = queue.popleft()
            if not turn.done():  # else its caller went away
                turn.set_result(None)
                return
        del self._taken[name]
