"""The one reader of the log: relay, projector, catch-up and rebuild all read through it.

Positions are drawn before commit, so a reader can meet a hole: a number whose transaction is still open, or was rolled
back. It holds before a hole, notes the highest position it saw, and only then draws an xid of its own, the bound. Every
transaction that drew a lower number took its xid before that (the xid column is filled before the number is drawn), so its
xid is below the bound. When a later statement's own snapshot shows xmin at or above the bound, all of them have ended, and
what that statement does not see will never come. Nothing is ever passed because time went by (G2).

The snapshot's xmax is no such bound: it is one past the highest xid that *completed*. A running transaction may stand above it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sagakit.messages import RecordedEvent

Fetch = Callable[..., Awaitable[list[Any]]]
_POSITION = 2  # behind xmin and xmax
_DRAW_BOUND = "select pg_current_xact_id()::text::bigint as bound"


class GapHoldReader:
    """Implements the port `LogReader` on PostgreSQL."""

    def __init__(self, fetch: Fetch, recorded: Callable[[Any], RecordedEvent], columns: str, after: int) -> None:
        """Begin behind a position; ``fetch`` runs a query in one statement and transaction, ``recorded`` reads ``columns``."""
        self._fetch, self._recorded, self._last = fetch, recorded, after
        # One statement, one snapshot: rows and horizon must not be from different moments.
        self._query = (
            "with horizon as materialized (select pg_snapshot_xmin(snapshot)::text::bigint as xmin, "  # noqa: S608 our columns
            "pg_snapshot_xmax(snapshot)::text::bigint as xmax from pg_current_snapshot() as snapshot) "
            "select xmin, xmax, page.* "
            f"from horizon left join lateral (select {columns} from events where position > $1 order by position limit $2) page "
            "on true order by page.position"
        )
        self._seen_up_to = 0
        self._bound = 0

    async def read(self, limit: int) -> list[RecordedEvent]:
        """See the port."""
        rows = await self._fetch(self._query, self._last, limit)
        if rows[0]["position"] is None:
            return []
        proven_up_to = self._seen_up_to if self._bound and rows[0]["xmin"] >= self._bound else 0
        last, ready = self._last, 0
        for row in rows:
            position = row[_POSITION]
            if position != last + 1 and position > proven_up_to:
                break
            last, ready = position, ready + 1
        if ready == len(rows):
            self._bound = 0
        elif not self._holds(last, rows[0]["xmax"]) or proven_up_to:
            # Drawn after the page was seen, and before anything is taken off the log: it may fail.
            self._bound = (await self._fetch(_DRAW_BOUND))[0]["bound"]
            self._seen_up_to = rows[-1][_POSITION]
        self._last = last
        return [self._recorded(row[_POSITION:]) for row in rows[:ready]]

    def _holds(self, last: int, xmax: int) -> bool:
        """Tell whether the bound in hand is good for the hole behind ``last``.

        A bound at or above a later xmax was forgotten by a server that crashed: the same xid will be given out again, and
        nobody may ever come to do it.
        """
        return bool(self._bound) and last < self._seen_up_to and self._bound < xmax
