"""Readers of the log that look right and are not: planted defects, which the order test must catch (failures A1 to A7).

Each has the interface of the real reader over one ``fetch``, and pages of rows. They are kept so that the test of the real
reader can fail; nothing else may use them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

Fetch = Callable[..., Awaitable[list[Any]]]
_PAGE = "select position, stream, version, id from events where position > $1 order by position limit $2"
_HORIZON = """select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
                     pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax"""
_BOTH = (
    f"with horizon as materialized ({_HORIZON}) "  # noqa: S608 constants
    f"select * from horizon left join lateral ({_PAGE}) page on true order by position"
)


class PositionOnly:
    """`position > checkpoint` (A1; Marten #1629, Emmett PR #336, Protean #1088): a lower number that commits later is lost."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._last = fetch, 0

    async def read(self, limit: int) -> list[Any]:
        rows = await self._fetch(_PAGE, self._last, limit)
        self._last = rows[-1]["position"] if rows else self._last
        return rows


class HorizonFilter:
    """`position > checkpoint and xid < xmin` (A2, measured): an older transaction may hold the higher number."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._last = fetch, 0

    async def read(self, limit: int) -> list[Any]:
        rows = await self._fetch(
            "select position, stream, version, id from events where position > $1 and xid < pg_snapshot_xmin(pg_current_snapshot()) "
            "order by position limit $2",
            self._last,
            limit,
        )
        self._last = rows[-1]["position"] if rows else self._last
        return rows


class XidOrder:
    """Order and checkpoint `(xid, position)` (A3; eugene-khyst/postgresql-event-sourcing #16): nothing lost, streams inverted."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._last = fetch, (0, 0)

    async def read(self, limit: int) -> list[Any]:
        rows = await self._fetch(
            "select xid::text::bigint as xid_number, position, stream, version, id from events "
            "where (xid, position) > ($1::bigint::text::xid8, $2) and xid < pg_snapshot_xmin(pg_current_snapshot()) "
            "order by events.xid, position limit $3",
            *self._last,
            limit,
        )
        if rows:
            self._last = rows[-1]["xid_number"], rows[-1]["position"]
        return rows


class SkipAfter:
    """Passes a hole that is older than a time-out (A7; Marten #3122, Axon #391): a slow commit is lost."""

    SECONDS = 0.02

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._last, self._held_at, self._held_since = fetch, 0, 0, 0.0

    async def read(self, limit: int) -> list[Any]:
        rows = await self._fetch(_PAGE, self._last, limit)
        ready: list[Any] = []
        for row in rows:
            if row["position"] != self._last + 1:
                if self._held_at != self._last:
                    self._held_at, self._held_since = self._last, time.monotonic()
                if time.monotonic() - self._held_since < self.SECONDS:
                    break
            self._last = row["position"]
            ready.append(row)
        return ready


class TwoStatements:
    """Rows first, horizon in a second statement under READ COMMITTED (A6; Marten #4977): a commit between them is lost."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch, self._last, self._seen_up_to, self._held = fetch, 0, 0, 0

    async def page(self, limit: int) -> tuple[list[Any], int, int]:
        rows = await self._fetch(_PAGE, self._last, limit)
        horizon = (await self._fetch(_HORIZON))[0]
        # The bound itself is drawn rightly, so that what is caught is the second statement alone.
        bound = (await self._fetch("select pg_current_xact_id()::text::bigint as bound"))[0]["bound"]
        return rows, horizon["xmin"], bound

    async def read(self, limit: int) -> list[Any]:
        rows, xmin, bound = await self.page(limit)
        proven_up_to = self._seen_up_to if self._held and xmin >= self._held else 0
        ready: list[Any] = []
        for row in rows:
            if row["position"] != self._last + 1 and row["position"] > proven_up_to:
                break
            self._last = row["position"]
            ready.append(row)
        if len(ready) == len(rows):
            self._held = 0
        elif not self._held or proven_up_to:
            self._seen_up_to, self._held = rows[-1]["position"], bound
        return ready


class SnapshotXmax(TwoStatements):
    """Holds until xmin reaches the *snapshot's xmax*, which is one past the highest completed xid, not the highest given out.

    A transaction that took its xid after the last one that completed stands at or above that xmax while it runs: the
    proof holds at once, and its number is passed. Shown by an early xid that commits the higher number (A2's sessions).
    """

    async def page(self, limit: int) -> tuple[list[Any], int, int]:
        rows = await self._fetch(_BOTH, self._last, limit)
        return [row for row in rows if row["position"] is not None], rows[0]["xmin"], rows[0]["xmax"]
