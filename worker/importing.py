"""Imports an order file: seeds the stock, places every document, waits until each has an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from sqlmodel import select

from aggregates.order import OrderLine, PlaceOrder
from aggregates.order_return import OpenReturn, ReturnLine
from aggregates.stock import SeedStock
from projections.order_summary import OrderSummaryRow
from sagakit.errors import InvalidInput
from sagakit.log import read_to_head
from sagakit.messages import Command
from sagakit.repository import Context
from sagakit.sql.tables import InboxRow, ParkedRow
from sagakit.system import System
from worker.order_file import Document, OrderFile

_IN_FLIGHT = 16
_POLL_SECONDS = 0.4
_ROUNDS_PER_PARKED = 10
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """How an import places its documents."""

    stock_per_product: int
    decline_over: Decimal | None
    actor: str = "import"


async def place_documents(system: System, file: OrderFile, options: ImportOptions, progress: Progress) -> int:
    """Seed the stock, then send a command per document; return how many documents were known before.

    Delivery: the document number is the business key, so a file imported twice starts nothing twice.
    """
    seeds: list[Command] = [SeedStock(product=product, quantity=options.stock_per_product) for product in sorted(file.products)]
    await _send_all(system, seeds, options, lambda done: progress("stock", done, len(seeds)))
    documents = [_command(document, options) for document in (*file.orders, *file.returns)]
    # Returns after orders; within each, the order of the file.
    statuses = await _send_all(system, documents, options, lambda done: progress("documents", done, len(documents)))
    return sum(status == "known" for status in statuses)


def _command(document: Document, options: ImportOptions) -> Command:
    first = document.rows[0]
    if document.is_return:
        return OpenReturn(
            return_id=document.number,
            customer=first.customer,
            country=first.country,
            placed_at=first.placed_at,
            lines=tuple(ReturnLine(product=r.product, quantity=-r.quantity, unit_price=r.unit_price) for r in document.rows),
        )
    return PlaceOrder(
        order_id=document.number,
        customer=first.customer,
        country=first.country,
        placed_at=first.placed_at,
        lines=tuple(OrderLine(product=r.product, quantity=r.quantity, unit_price=r.unit_price) for r in document.rows),
        payment_limit=options.decline_over,
    )


async def _send_all(
    system: System, commands: list[Command], options: ImportOptions, progress: Callable[[int], None]
) -> list[str]:
    limit, done = asyncio.Semaphore(_IN_FLIGHT), 0

    async def one(command: Command) -> str:
        nonlocal done
        async with limit:
            # No idempotency key: the aggregate itself knows the document, and its refusal tells a known from a new one.
            outcome = await system.send(
                command, Context(correlation_id=f"{command.command_name}/{command.aggregate_id}", actor=options.actor)
            )
        done += 1
        progress(done)
        if outcome.status == "done":
            return "new"
        if outcome.code in ("order_already_placed", "return_already_opened"):
            return "known"
        raise InvalidInput(f"{command.command_name} {command.aggregate_id}: {outcome.reason}")

    return list(await asyncio.gather(*(one(command) for command in commands)))


async def outcomes(system: System) -> dict[str, OrderSummaryRow]:
    """Read the state of every document from the read model."""
    opened = await system.open("orders")
    async with opened.tables.transaction() as session:
        rows = (await session.exec(select(OrderSummaryRow))).all()
    return {row.document: row for row in rows}


async def _open_documents(system: System, numbers: set[str]) -> set[str]:
    """Find the documents that have not ended."""
    opened = await system.open("orders")
    async with opened.tables.transaction() as session:
        ended = set((await session.exec(select(OrderSummaryRow.document).where(OrderSummaryRow.status != "open"))).all())
    return numbers - ended


async def wait_for_outcomes(
    system: System, numbers: set[str], parked: Callable[[], Awaitable[set[str]]], progress: Progress, stop: asyncio.Event
) -> set[str]:
    """Wait until every document has ended or is parked; return the parked ones. Ends early when ``stop`` is set."""
    stuck: set[str] = set()
    rounds = 0
    while not stop.is_set():
        waiting = await _open_documents(system, numbers)
        # Parked sagas are rare and dear to ask for.
        if waiting and rounds % _ROUNDS_PER_PARKED == 0:
            stuck = await parked()
        rounds += 1
        waiting -= stuck
        progress("outcomes", len(numbers) - len(waiting), len(numbers))
        if not waiting:
            return stuck & numbers
        await _pause(stop)
    return set()


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _POLL_SECONDS)


async def wait_for_reports(system: System, stop: asyncio.Event) -> None:
    """Wait until everything that was recorded is also in the inbox of the reporting service."""
    wanted: set[str] = set()
    for name, event_type in (("shipping", "shipment.shipped"), ("orders", "return.closed")):
        store = (await system.open(name)).store
        wanted |= {str(event.id) async for event in read_to_head(store) if event.type == event_type}
    while not stop.is_set():
        async with (await system.open("reporting")).tables.transaction() as session:
            handled = set((await session.exec(select(InboxRow.event_id))).all())
            handled |= set((await session.exec(select(ParkedRow.event_id))).all())
        if wanted <= handled:
            return
        await _pause(stop)
