"""A seeded scheduler over the log: writers in every unlucky order, a reader in between, the ledger as the judge.

One statement at a time, chosen by the seed, so that a failing order can be run again. What stands still inside a statement
(a race on one version, a stall behind the drawing of a number) is a task that the scheduler knows of. Between two statements
of one read the writers go on as well. Random orders come after the directed ones, which show each known fault for certain.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from tests.support.log_sessions import STALL, Ledger, Session
from tests.support.log_verdict import Watched
from tests.support.wrong_readers import Fetch, SkipAfter

STREAMS = 24


class Schedule:
    """The sessions of one run. Two of them write in another database of the cluster."""

    def __init__(self, seed: int, connections: list[asyncpg.Connection], foreign: list[asyncpg.Connection]) -> None:
        self._random = random.Random(seed)
        self._look, self._gate, self._reading, *writing = connections
        self.ledger = Ledger()
        self.writers = [Session(connection, self.ledger) for connection in writing]
        self._foreign = [Session(connection, Ledger()) for connection in foreign]
        self._between: Callable[[], Awaitable[Any]] | None = None
        self._busy: list[Session] = []
        self._is_random = False
        self._statements_of_read = 0
        self._stalled_count = 0

    def watch(self, make: Callable[[Fetch], Any]) -> Watched:
        """Let a reader read along."""
        self._reader = Watched(make(self._fetch), self.ledger)
        return self._reader

    async def _fetch(self, query: str, *args: Any) -> list[Any]:
        self._statements_of_read += 1
        if self._statements_of_read > 1:
            await self._go_on_between()
        return await self._reading.fetch(query, *args)

    async def _go_on_between(self) -> None:
        if self._between is not None:
            act, self._between = self._between, None
            await act()
        elif self._is_random:
            for _ in range(self._random.randrange(4)):
                await self._step()

    async def read(self, limit: int = 500) -> int:
        self._statements_of_read = 0
        return await self._reader.read(limit)

    # Directed orders, each for the rows of failures.md that it is named by.

    async def run_directed(self) -> None:
        for order in (self._a1_a7, self._a2, self._a3, self._a6, self._a5):
            await order()
            await self._end_all()

    async def _a1_a7(self) -> None:
        """A number is held while a higher one commits, for ten times the time after which A7's reader passes it."""
        slow, fast = self.writers[:2]
        await slow.begin()
        await slow.insert("directed-slow", 3)
        await self._append(fast, "directed-fast")
        until = time.monotonic() + 10 * SkipAfter.SECONDS
        while time.monotonic() < until:
            await self.read()
        await self.end(slow, slow.commit)

    async def _a2(self) -> None:
        """The older xid draws the higher number and commits first."""
        early, late = self.writers[:2]
        await early.begin(with_xid=True)
        await late.begin()
        await late.insert("directed-late", 2)
        await early.insert("directed-early", 2)
        await self.end(early, early.commit)
        await self._nobody_else()
        for _ in range(3):
            await self.read()
        await self.end(late, late.commit)

    async def _a3(self) -> None:
        """The older xid writes the later version of a stream."""
        early, late = self.writers[:2]
        await early.begin(with_xid=True)
        await self._append(late, "directed-versions")
        await early.insert("directed-versions", 1)
        await self.end(early, early.commit)
        await self._nobody_else()
        await self.read()

    async def _a6(self) -> None:
        """What fills the hole commits between two statements of a read."""
        slow, fast = self.writers[:2]
        await slow.begin()
        await slow.insert("directed-between", 1)
        await self._append(fast, "directed-fast")
        await self.read()
        self._between = partial(self._end_alone, slow)
        await self.read()
        if self._between is not None:  # this reader needs one statement only
            self._between = None
            await self.end(slow, slow.commit)

    async def _a5(self) -> None:
        """A writer stands still between its number and the rest of its insert, with no xid of its own taking."""
        slow, fast = self.writers[:2]
        await slow.begin()
        await self._stall(slow)
        await self._append(fast, "directed-fast")
        for _ in range(3):
            await self.read()
        await self._open_gate()
        await self.end(slow, slow.commit)

    async def _end_alone(self, session: Session) -> None:
        await self.end(session, session.commit)
        await self._nobody_else()

    async def _nobody_else(self) -> None:
        """Wait until only this run holds the horizon back: an autovacuum that analyses a table would hide a fault."""
        everybody = [self._look, self._gate, self._reading, *(each.connection for each in self.writers + self._foreign)]
        own = [connection.get_server_pid() for connection in everybody]
        async with asyncio.timeout(30):
            while await self._look.fetchval(
                "select exists (select from pg_stat_activity where backend_xid is not null and pid <> all($1))", own
            ):
                await asyncio.sleep(0.01)

    async def _append(self, session: Session, stream: str) -> None:
        await session.begin()
        await session.insert(stream, 1)
        await self.end(session, session.commit)

    # Random orders.

    async def run_random(self, events: int) -> None:
        self._is_random = True
        while len(self.ledger.committed) < events:
            # Some faults need a crowd; others need that few are at work, so that the horizon moves at all.
            self._busy = self._random.sample(self.writers + self._foreign, self._random.choice([2, 3, 12]))
            for _ in range(300):
                await self._step()
                if self._random.random() < 0.15:
                    await self.read(self._random.choice([3, 200, 1000]))
        self._is_random = False
        await self._end_all()

    async def _step(self) -> None:
        session = self._random.choice(self.writers + self._foreign)
        if session.waiting is not None:
            if session.waits_for is None and self._random.random() < 0.2:
                await self._open_gate()
            return
        if not session.steps:
            if session not in self._busy:
                return
            session.steps = self._foreign_plan(session) if session in self._foreign else self._plan(session)
        step = session.steps.popleft()
        if step is not None:
            await step()

    def _plan(self, session: Session) -> deque[Callable[[], Any] | None]:
        """Make one transaction's steps; None is a step in which it stands still."""
        chance, choice = self._random.random, self._random.choice
        plan: list[Callable[[], Any] | None] = [partial(session.begin, with_xid=chance() < 0.4)]
        plan += [None] * choice([0, 0, 1, 3, 10])
        if chance() < 0.03:
            plan += [session.write_elsewhere, *[None] * choice([20, 60])]
        if chance() < 0.02:
            plan += [partial(self._stall, session)]
        for _ in range(choice([1, 1, 2, 3])):
            plan += [partial(self._insert, session), *[None] * choice([0, 0, 1, 3, 10])]
        end = session.rollback if chance() < 0.12 else session.commit
        return deque([*plan, partial(self.end, session, end)])

    def _foreign_plan(self, session: Session) -> deque[Callable[[], Any] | None]:
        idle, rest = [None] * self._random.choice([5, 40]), [None] * 20
        return deque([session.begin, session.write_elsewhere, *idle, session.commit, *rest])

    async def _insert(self, session: Session) -> None:
        stream, count = f"random-{self._random.randrange(STREAMS)}", self._random.choice([1, 2, 8, 25, 50])
        holder = self.ledger.holders.get(stream)
        if holder in {None, session}:
            is_stale = not session.written and self.ledger.versions.get(stream, 0) > 0 and self._random.random() < 0.05
            await session.insert(stream, count, is_stale=is_stale)
        elif not session.written and not holder.is_waited_for:  # who holds nothing can wait without a deadlock
            session.begin_to_insert(stream, count, holder)
            await self._until_it_waits(session)

    async def _stall(self, session: Session) -> None:
        if self._stalled_count == 0:
            await self._gate.execute("select pg_advisory_lock(77)")
        self._stalled_count += 1
        self.ledger.count("stalls behind the number")
        session.begin_to_insert(f"stalled-{self.ledger.counts['stalls behind the number']}", 2)
        await self._until_it_waits(session)

    async def _until_it_waits(self, session: Session) -> None:
        async with asyncio.timeout(20):
            while not await self._look.fetchval(
                "select cardinality(pg_blocking_pids($1)) > 0", session.connection.get_server_pid()
            ):
                await asyncio.sleep(0.001)

    async def _open_gate(self) -> None:
        await self._gate.execute("select pg_advisory_unlock(77)")
        self._stalled_count = 0
        for session in self.writers:
            if session.waiting is not None and session.waits_for is None:
                await self._finish(session)

    async def end(self, session: Session, how: Callable[[], Awaitable[None]]) -> None:
        """Commit or roll back; whoever waited for that goes on."""
        await how()
        for other in self.writers:
            if other.waits_for is session:
                await self._finish(other)

    async def _finish(self, session: Session) -> None:
        assert session.waiting is not None
        async with asyncio.timeout(20):
            await session.waiting
        session.waiting = session.waits_for = None

    async def _end_all(self) -> None:
        """End every transaction, then let the reader come to the end of the log."""
        if self._stalled_count:
            await self._open_gate()
        for session in self.writers + self._foreign:
            if session.waiting is None and session.connection.is_in_transaction():
                await self.end(session, session.rollback)
        for session in self.writers:
            if session.connection.is_in_transaction():
                await self.end(session, session.rollback)
            session.steps.clear()
        quiet = 0
        while quiet < 3:
            quiet = 0 if await self.read(5000) else quiet + 1


@asynccontextmanager
async def scheduled(seed: int, url: str, writers: int = 10) -> AsyncIterator[Schedule]:
    """Open the sessions of one run on a database that has the log's table."""
    connections = [await asyncpg.connect(url) for _ in range(writers + 3)]
    foreign = [await asyncpg.connect(f"{url.rpartition('/')[0]}/postgres") for _ in range(2)]
    try:
        await connections[0].execute(STALL)
        await foreign[0].execute("create table if not exists scratch (n int)")
        for connection in connections:
            await connection.execute("set synchronous_commit = off")  # order is tried here, durability elsewhere
        yield Schedule(seed, connections, foreign)
    finally:
        for connection in connections + foreign:
            connection.terminate()
