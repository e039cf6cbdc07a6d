"""What took effect, held against what the log says, from outside: by SQL over the databases, not by the service's own view."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tests.chaos.delivery.site import Site
from tests.support.workers import duplicates

TABLES = {"ledger": "chaos_ledger", "mill": "chaos_tally"}
QUIET_SECONDS, STANDSTILL_SECONDS = 1.0, 30.0


@dataclass
class Row:
    """One line of the results. ``extra`` holds what only this line has."""

    label: str
    hits: int
    lost: int
    out_of_order: int
    double_effects: int
    duplicates_delivered: int
    extra: dict[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        names = ("label", "hits", "lost", "out_of_order", "double_effects", "duplicates_delivered")
        return {name: getattr(self, name) for name in names} | self.extra


class Judge:
    """Judges one part of a run after the other; what was judged is not judged again, but remembered."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._position, self._duplicates = 0, 0
        self._number = dict.fromkeys(TABLES, 0)
        self._effects: dict[str, set[str]] = {service: set() for service in TABLES}
        self._last: dict[str, dict[str, int]] = {service: {} for service in TABLES}
        self._started, self._keys = 0, 0

    async def row(self, label: str, hits: int) -> Row:
        """Let everything come to rest, and judge what happened since the last time."""
        await self._site.callers.pause()
        await self._rests()
        await asyncio.sleep(QUIET_SECONDS)  # a second effect may come late
        lost = doubles = disorder = 0
        async with self._site.connected("mill") as mill:
            events = await mill.fetch(
                "select position, id::text, type from events where position > $1 order by position", self._position
            )
            answered = await mill.fetchval("select count(*) from commands where key like 'fill-%'")
        self._position = events[-1]["position"] if events else self._position
        filled = {row["id"] for row in events if row["type"] == "mill.filled"}
        self._started += sum(row["type"] == "mill.ordered" for row in events)
        for service, table in TABLES.items():
            async with self._site.connected(service) as connection:
                rows = await connection.fetch(
                    f"select number, event_id, stream, version from {table} where number > $1 order by number",  # noqa: S608 ours
                    self._number[service],
                )
                started = await connection.fetchval("select count(*) from chaos_started") if service == "ledger" else 0
            known, last = self._effects[service], self._last[service]
            for row in rows:
                doubles += row["event_id"] in known
                known.add(row["event_id"])
                disorder += row["version"] <= last.get(row["stream"], 0)
                last[row["stream"]] = row["version"]
            self._number[service] = rows[-1]["number"] if rows else self._number[service]
            lost += len(filled - known)
            if service == "ledger":
                lost += max(self._started - started, 0)
                self._started = started  # what is lost is told once
        lost += len(self._site.callers.acknowledged) - answered
        total = await asyncio.to_thread(duplicates, self._site.folder)
        delivered_again, self._duplicates = total - self._duplicates, total
        return Row(label, hits, lost, disorder, doubles, delivered_again)

    async def _rests(self) -> None:
        """Wait until every event has its effects, or until nothing moves any more."""
        moved, since = -1, time.monotonic()
        async with self._site.connected("mill") as mill, self._site.connected("ledger") as ledger:
            while time.monotonic() - since < STANDSTILL_SECONDS:
                filled = await mill.fetchval("select count(*) from events where type = 'mill.filled'")
                ordered = await mill.fetchval("select count(*) from events where type = 'mill.ordered'")
                effects = await ledger.fetchval("select count(*) from chaos_ledger")
                tally = await mill.fetchval("select count(*) from chaos_tally")
                started = await ledger.fetchval("select count(*) from chaos_started")
                if min(effects, tally) >= filled and started >= ordered:
                    return
                if effects + tally + started != moved:
                    moved, since = effects + tally + started, time.monotonic()
                await asyncio.sleep(0.2)
