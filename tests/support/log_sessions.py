"""PostgreSQL sessions that write into a log step by step, and the ledger of what they committed."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

INSERT = """insert into events (stream, version, id, type, schema_version, data, metadata)
            select $1, $2::int + n, id, 'counter.added', 1, '{"amount": 1}', '{"correlation_id": "c"}'
            from unnest($3::uuid[]) with ordinality as given (id, n) order by n returning position, stream, version, id"""

# Stops a writer between the drawing of its number and everything after it, as long as the gate is shut.
STALL = """
create function stall() returns trigger language plpgsql as
$$ begin perform pg_advisory_lock_shared(77); perform pg_advisory_unlock_shared(77); return new; end $$;
create trigger stall before insert on events for each row when (new.stream like 'stalled-%') execute function stall();
create table scratch (n int);
"""


@dataclass
class Ledger:
    """What is true of the log: the committed events by id, and each stream's version."""

    committed: dict[Any, Any] = field(default_factory=dict)
    rolled_back: set[Any] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    holders: dict[str, Session] = field(default_factory=dict)  # who has uncommitted events in a stream
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class Session:
    """One connection with at most one transaction, one statement a step. An insert may wait for another session's end."""

    def __init__(self, connection: asyncpg.Connection, ledger: Ledger) -> None:
        self.connection, self._ledger = connection, ledger
        self.steps: deque[Callable[[], Any] | None] = deque()
        self.written: list[Any] = []
        self._streams: dict[str, int] = {}
        self.waiting: asyncio.Task[bool] | None = None
        self.waits_for: Session | None = None
        self.is_waited_for = False

    async def begin(self, *, with_xid: bool = False) -> None:
        await self.connection.execute("begin")
        if with_xid:
            await self.connection.fetchval("select pg_current_xact_id()")
            self._ledger.count("early xids")

    async def write_elsewhere(self) -> None:
        """Hold the horizon without a word in the log."""
        await self.connection.execute("insert into scratch values (1)")

    async def insert(self, stream: str, count: int, *, is_stale: bool = False) -> bool:
        """Append to a stream; False when somebody else was first, which ends the transaction."""
        version = self._streams.get(stream, self._ledger.versions.get(stream, 0)) - is_stale
        ids = [uuid.uuid4() for _ in range(count)]
        try:
            rows = await self.connection.fetch(INSERT, stream, version, ids)
        except asyncpg.UniqueViolationError:
            self._ledger.count("conflicts")
            self._ledger.rolled_back.update(ids)
            await self.rollback()
            return False
        self._streams[stream] = version + count
        self._ledger.holders[stream] = self
        self.written += rows
        return True

    def begin_to_insert(self, stream: str, count: int, holder: Session | None = None) -> None:
        """Append without waiting for it: it stands behind ``holder``'s transaction, or behind the gate."""
        self.waits_for = holder
        if holder is not None:
            holder.is_waited_for = True
        self.waiting = asyncio.create_task(self.insert(stream, count))

    async def commit(self) -> None:
        await self.connection.execute("commit")
        self._ledger.versions.update(self._streams)
        self._ledger.committed.update({row["id"]: row for row in self.written})
        self._ledger.count("commits")
        self._leave()

    async def rollback(self) -> None:
        await self.connection.execute("rollback")
        self._ledger.rolled_back.update(row["id"] for row in self.written)
        self._ledger.count("rollbacks")
        self._leave()

    def _leave(self) -> None:
        for stream in self._streams:
            if self._ledger.holders.get(stream) is self:  # who waited for this end may hold it already
                del self._ledger.holders[stream]
        self._streams, self.written, self.is_waited_for = {}, [], False
        self.steps.clear()
