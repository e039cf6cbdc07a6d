"""An event of every type of the demo domain, as a store holds it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

from aggregates.order import (
    AcceptReturn,
    CancelOrder,
    CompleteOrder,
    DropLines,
    NoteDispatch,
    OrderLine,
    PlaceOrder,
    RequestCancellation,
    ReturnedLine,
)  # fmt: skip
from aggregates.order_return import CloseReturn, OpenReturn, RefuseReturn, ReturnLine
from aggregates.payment import AnswerPayment, AuthorisePayment, CapturePayment, RefundPayment, RequestPayment, VoidPayment
from aggregates.shipment import ConfirmDelivery, OpenClaim, ShipOrder, ShippedLine
from aggregates.stock import ReleaseStock, ReserveStock, RestockProduct, SeedStock
from sagakit.log import read_to_head
from sagakit.messages import RecordedEvent
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from worker.services import SERVICES

AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 the documents know no zone
_LINE = OrderLine(product="p", quantity=3, unit_price=Decimal("2.50"))
_BACK = ReturnLine(product="p", quantity=1, unit_price=Decimal("2.50"))
_GOODS = (ShippedLine(product="p", quantity=1, value=Decimal(1)),)
COMMANDS = (
    PlaceOrder(order_id="1", customer="Zoë", country="France", placed_at=AT, lines=(_LINE, _LINE), payment_limit=Decimal("1e3")),
    CompleteOrder(order_id="1"),
    PlaceOrder(order_id="2", country="France", placed_at=AT, lines=(_LINE,)),
    CancelOrder(order_id="2", reason="too late"),
    OpenReturn(return_id="C1", country="France", placed_at=AT, lines=(_BACK,)),
    CloseReturn(return_id="C1"),
    AuthorisePayment(payment_id="1", amount=Decimal(15)),
    CapturePayment(payment_id="1"),
    RefundPayment(payment_id="C1", amount=Decimal("2.50")),
    AuthorisePayment(payment_id="2", amount=Decimal("7.5")),
    VoidPayment(payment_id="2"),
    SeedStock(product="p", quantity=9),
    ReserveStock(product="p", order_id="1", line=1, quantity=3),
    ReleaseStock(product="p", order_id="1", line=1),
    RestockProduct(product="p", return_id="C1", line=1, quantity=1),
    ShipOrder(order_id="1", country="France", lines=_GOODS),
    AcceptReturn(order_id="1", return_id="C1", lines=(ReturnedLine(product="p", quantity=1, unit_price=Decimal("2.50")),)),
    PlaceOrder(order_id="3", country="France", placed_at=AT, lines=(_LINE, _LINE), may_ship_in_part=True, awaits_delivery=True),
    DropLines(order_id="3", lines=(1,)),
    RequestCancellation(order_id="3", reason="bought elsewhere"),
    NoteDispatch(order_id="3"),
    OpenReturn(return_id="C3", country="France", placed_at=AT, lines=(_BACK,), order_id="3"),
    RefuseReturn(return_id="C3", reason="nothing of it has arrived"),
    RequestPayment(payment_id="3", amount=Decimal(9)),
    VoidPayment(payment_id="3"),
    AnswerPayment(payment_id="3", is_authorised=True),
    RequestPayment(payment_id="4", amount=Decimal(9)),
    AnswerPayment(payment_id="4", is_authorised=True),
    OpenClaim(order_id="1"),
    ConfirmDelivery(order_id="1"),
)


async def demo_log(folder: Path) -> list[RecordedEvent]:
    """Send the commands to fresh SQLite stores in a folder, and read what they hold."""
    services = ServiceMap(SERVICES)
    events: list[RecordedEvent] = []
    async with System(load_settings(data=folder, database="sqlite"), services) as system:
        for command in COMMANDS:
            outcome = await system.send(command, Context(actor="kim"))
            assert outcome.status == "done", outcome
        for name in services.with_a_log():
            events += [event async for event in read_to_head((await system.open(name)).store)]
    return events
