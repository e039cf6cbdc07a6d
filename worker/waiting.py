"""Waits until every document of an import has an outcome, and says what it waits for when nothing moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from sqlmodel import select

from projections.order_summary import OrderSummaryRow
from sagakit.log import read_to_head
from sagakit.sql.tables import InboxRow, ParkedRow
from sagakit.system import System

_POLL_SECONDS = 0.4
_ROUNDS_PER_PARKED = 10
_STILL_SECONDS = 10.0
_NAMED = 3
_OF_A_DOCUMENT = ("order", "return", "shipment", "payment")  # streams that carry its number
Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
Parked = Callable[[], Awaitable[Mapping[str, str]]]


class Stillness:
    """Says once what is waited for, when nothing has moved for long."""

    def __init__(self, say: Say, advice: str, seconds: float = _STILL_SECONDS) -> None:
        """Take where to say it, and what to advise."""
        self._say, self._advice, self._seconds = say, advice, seconds
        self._seen: object = None
        self._since = time.monotonic()
        self._has_spoken = False

    def look(self, seen: object, waiting_for: str) -> None:
        """Compare what is seen now with what was seen before; ``waiting_for`` says it to people."""
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        elif not self._has_spoken and now - self._since >= self._seconds:
            self._has_spoken = True
            self._say(f"Nothing has moved for {self._seconds:g} s: waiting for {waiting_for}. {self._advice}")


async def outcomes(system: System) -> dict[str, OrderSummaryRow]:
    """Read the state of every document from the read model."""
    opened = await system.open("orders")
    async with opened.tables.transaction() as session:
        rows = (await session.exec(select(OrderSummaryRow))).all()
    return {row.document: row for row in rows}


async def parked_events(system: System) -> dict[str, str]:
    """Find the documents of which a consumer or projection set an event aside: number, and who and why."""
    found: dict[str, str] = {}
    for service in system.services.services:
        async with (await system.open(service.name)).tables.transaction() as session:
            parked = select(ParkedRow.consumer, ParkedRow.stream, ParkedRow.reason).where(ParkedRow.state == "parked")
            rows = (await session.exec(parked)).all()
        for consumer, stream, reason in rows:
            category, _, number = stream.partition("-")
            if category in _OF_A_DOCUMENT:
                found.setdefault(number, f"{consumer} set an event of {stream} aside: {reason}")
    return found


async def wait_for_outcomes(
    system: System, numbers: set[str], parked: Parked, progress: Progress, stop: asyncio.Event, stillness: Stillness
) -> dict[str, str]:
    """Wait until every document has ended or is parked; return the parked ones, each with why. Ends early on ``stop``."""
    stuck: dict[str, str] = {}
    rounds = recorded = 0
    while not stop.is_set():
        waiting = await _open_documents(system, numbers)
        # Parked sagas are rare and dear to ask for; events are recorded long before the first document ends.
        if waiting and rounds % _ROUNDS_PER_PARKED == 0:
            recorded = sum([await (await system.open(name)).store.head() for name in system.services.with_a_log()])
            stuck = {number: why for number, why in (await parked()).items() if number in numbers}
        rounds += 1
        waiting -= stuck.keys()
        progress("outcomes", len(numbers) - len(waiting), len(numbers))
        if not waiting:
            return stuck
        names = ", ".join(sorted(waiting)[:_NAMED] + ["..."] * (len(waiting) > _NAMED))
        stillness.look((waiting, recorded), f"outcomes, still open: {len(waiting)} ({names})")
        await _pause(stop)
    return stuck


async def _open_documents(system: System, numbers: set[str]) -> set[str]:
    """Find the documents that have not ended."""
    opened = await system.open("orders")
    async with opened.tables.transaction() as session:
        ended = set((await session.exec(select(OrderSummaryRow.document).where(OrderSummaryRow.status != "open"))).all())
    return numbers - ended


async def wait_for_reports(system: System, stop: asyncio.Event, stillness: Stillness) -> None:
    """Wait until everything that was recorded is also in the inbox of the reporting service, or set aside by it."""
    wanted: set[str] = set()
    for name, event_type in (("shipping", "shipment.shipped"), ("orders", "return.closed")):
        store = (await system.open(name)).store
        wanted |= {str(event.id) async for event in read_to_head(store) if event.type == event_type}
    while not stop.is_set():
        async with (await system.open("reporting")).tables.transaction() as session:
            handled = set((await session.exec(select(InboxRow.event_id))).all())
            rows = (await session.exec(select(ParkedRow))).all()
        given_up = {(row.consumer, row.stream) for row in rows if row.state == "parked"}
        handled |= {row.event_id for row in rows if (row.consumer, row.stream) in given_up}
        if wanted <= handled:
            return
        stillness.look(wanted - handled, f"events to reach the service reporting, still on their way: {len(wanted - handled)}")
        await _pause(stop)


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
