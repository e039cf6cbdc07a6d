"""Concurrent appends of one process share a commit; a lone one never waits for company.

The first append goes off at once. What arrives while it is on its way goes together in the next commit, as soon as that
lane is free. Source: group commit, DeWitt et al., Implementation techniques for main memory database systems, 1984.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from sagakit.ports import Append

Answer = list[int] | Exception
Alone = Callable[[Append], Awaitable[list[int]]]
Together = Callable[[Sequence[Append]], Awaitable[Sequence[Answer]]]


class GroupCommit:
    """Queues appends in front of a database. ``alone`` raises, ``together`` answers each member with positions or its error."""

    def __init__(self, alone: Alone, together: Together, *, largest: int = 128, lanes: int = 1) -> None:
        """Take both ways to commit, how many appends share a commit at most, and how many commits may be under way."""
        self._alone, self._together = alone, together
        self._largest, self._lanes = largest, lanes
        self._waiting: deque[tuple[Append, asyncio.Future[list[int]]]] = deque()
        self._under_way = 0
        self._groups: set[asyncio.Task[None]] = set()

    async def append(self, append: Append) -> list[int]:
        """Commit an append, with others or alone; raise what became of this one."""
        if self._under_way < self._lanes:
            self._under_way += 1
            try:
                return await self._alone(append)
            finally:
                self._leave()
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, future))
        return await future

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        while self._groups:
            await asyncio.gather(*self._groups, return_exceptions=True)

    def _leave(self) -> None:
        self._under_way -= 1
        # An append whose caller went away while it waited is left out: it was not sent.
        members: list[tuple[Append, asyncio.Future[list[int]]]] = []
        while self._waiting and len(members) < self._largest:
            member = self._waiting.popleft()
            if not member[1].done():
                members.append(member)
        if members:
            self._under_way += 1
            task = asyncio.create_task(self._commit(members))
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)

    async def _commit(self, members: list[tuple[Append, asyncio.Future[list[int]]]]) -> None:
        try:
            answers = await self._together([append for append, _ in members])
        except Exception as error:  # noqa: BLE001 it is every member's error
            answers = [error for _ in members]
        try:
            for (_, future), answer in zip(members, answers, strict=True):
                if future.done():
                    continue  # its caller went away; the append stands
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
            # One turn of the loop: who was just answered and has more to append is in the next commit, not behind it.
            await asyncio.sleep(0)
        finally:
            self._leave()
