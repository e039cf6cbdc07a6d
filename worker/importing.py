"""Sends what an order file holds: seeds the stock, places every document."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from aggregates.order import Order, OrderLine, OrderPlaced, PlaceOrder
from aggregates.order_return import OpenReturn, OrderReturn, ReturnLine
from aggregates.shipment import Shipment
from aggregates.stock import SeedStock
from sagakit.admission import MAX_EVENT_BYTES
from sagakit.errors import InvalidInput
from sagakit.messages import Command, Event
from sagakit.repository import Context
from sagakit.system import System
from worker.order_file import Document, OrderFile
from workflows.order_fulfilment import ship_order

_IN_FLIGHT = 16
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """How an import places its documents."""

    stock_per_product: int
    decline_over: Decimal | None
    actor: str = "import"


def refuse_oversized(file: OrderFile, options: ImportOptions) -> None:
    """Find a document whose events no log would take, before any command is sent. Raises `InvalidInput`, naming it."""
    for document in (*file.orders, *file.returns):
        for event in _events(document, options):
            size = len(event.model_dump_json().encode())
            if size > MAX_EVENT_BYTES:
                raise InvalidInput(
                    f"document {document.number} has {len(document.rows)} rows, and its event {event.event_name} would be "
                    f"{-(-size // 1024)} KiB, over the limit of {MAX_EVENT_BYTES // 1024} KiB: split the document"
                )


def _events(document: Document, options: ImportOptions) -> Iterator[Event]:
    """Make the events that hold all lines of a document; a closed return holds no more than an opened one."""
    command = _command(document, options)
    for event in (OrderReturn if document.is_return else Order)(id=document.number).decide(command):
        yield event
        if isinstance(event, OrderPlaced):
            yield from Shipment(id=document.number).decide(ship_order(event))


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
