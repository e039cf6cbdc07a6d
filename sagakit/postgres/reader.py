"""The one reader of the log: relay, projector, catch-up and rebuild all read through it.

Positions are drawn before commit, so a reader can meet a hole: a number whose transaction is still open, or was rolled
back. It holds before a hole and notes the highest position it saw and the snapshot's xmax. Every transaction that drew a
lower number has an xid below that xmax (the xid column is filled before the number is drawn). When a later statement's own
snapshot shows xmin at or above it, all of them have ended, and what that statement does not see will never come.
Nothing is ever passed because time went by (G2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sagakit.messages import RecordedEvent

Fetch = Callable[..., Awaitable[list[Any]]]


class GapHoldReader:
    """Implements the port `LogReader` on PostgreSQL."""

    def __init__(self, fetch: Fetch, recorded: Callable[[Any], RecordedEvent], columns: str, after: int) -> None:
        """Begin behind a position; ``fetch`` runs one query in one statement."""
        self._fetch, self._recorded, self._last = fetch, recorded, after
        # One statement, one snapshot: rows and horizon must not be from different moments.
        self._query = (
            "with horizon as materialized (select pg_current_snapshot() as snapshot) "  # noqa: S608 our columns
            "select pg_snapshot_xmin(horizon.snapshot)::text::bigint as xmin, "
            "pg_snapshot_xmax(horizon.snapshot)::text::bigint as xmax, page.* "
            f"from horizon left join lateral (select {columns} from events where position > $1 order by position limit $2) page "
            "on true order by page.position"
        )
        self._seen_up_to = 0
        self._held_xmax = 0

    async def read(self, limit: int) -> list[RecordedEvent]:
        """See the port."""
        rows = await self._fetch(self._query, self._last, limit)
        found = [row for row in rows if row["position"] is not None]
        if not found:
            return []
        proven_up_to = self._seen_up_to if self._held_xmax and rows[0]["xmin"] >= self._held_xmax else 0
        ready: list[RecordedEvent] = []
        for row in found:
            if row["position"] != self._last + 1 and row["position"] > proven_up_to:
                break
            self._last = row["position"]
            ready.append(self._recorded(row))
        if len(ready) < len(found) and (not self._held_xmax or proven_up_to):
            self._seen_up_to, self._held_xmax = found[-1]["position"], rows[0]["xmax"]
        elif len(ready) == len(found):
            self._held_xmax = 0
        return ready
