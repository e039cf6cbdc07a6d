"""Order summary: one row per document, order or return, of the orders service."""

from datetime import datetime
from decimal import Decimal

from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from aggregates.order import OrderCancelled, OrderCompleted, OrderPlaced, OrderReduced
from aggregates.order_return import ReturnClosed, ReturnOpened, ReturnRefused
from sagakit.messages import RecordedEvent
from sagakit.projection import Projection, projects
from sagakit.sql.money import Money


class OrderSummaryRow(SQLModel, table=True):
    """A document: its total is in GBP, below 0 for a return; ``reason`` also says so of an unconfirmed delivery."""

    __tablename__ = "order_summary"
    document: str = Field(primary_key=True)
    customer: str
    country: str
    lines: int
    total: Decimal = Field(sa_type=Money)
    status: str = Field(index=True)
    reason: str = ""
    placed_at: str
    ended_at: datetime | None = None


class OrderSummary(Projection, name="order_summary", table=OrderSummaryRow):
    """What became of each document."""

    @projects(OrderPlaced)
    async def _placed(self, session: AsyncSession, event: OrderPlaced, _recorded: RecordedEvent) -> None:
        session.add(_row(event.order_id, event, event.total))

    @projects(ReturnOpened)
    async def _opened(self, session: AsyncSession, event: ReturnOpened, _recorded: RecordedEvent) -> None:
        session.add(_row(event.return_id, event, -event.refund))

    @projects(OrderReduced)
    async def _reduced(self, session: AsyncSession, event: OrderReduced, _recorded: RecordedEvent) -> None:
        row = await session.get_one(OrderSummaryRow, event.order_id)
        row.lines, row.total = event.lines, event.total

    @projects(OrderCompleted)
    async def _completed(self, session: AsyncSession, event: OrderCompleted, recorded: RecordedEvent) -> None:
        reason = "delivery unconfirmed" if event.delivery == "unconfirmed" else ""
        await _end(session, event.order_id, "completed", recorded, reason)

    @projects(OrderCancelled)
    async def _cancelled(self, session: AsyncSession, event: OrderCancelled, recorded: RecordedEvent) -> None:
        await _end(session, event.order_id, "cancelled", recorded, event.reason)

    @projects(ReturnClosed)
    async def _closed(self, session: AsyncSession, event: ReturnClosed, recorded: RecordedEvent) -> None:
        await _end(session, event.return_id, "returned", recorded)

    @projects(ReturnRefused)
    async def _refused(self, session: AsyncSession, event: ReturnRefused, recorded: RecordedEvent) -> None:
        await _end(session, event.return_id, "refused", recorded, event.reason)


def _row(document: str, event: OrderPlaced | ReturnOpened, total: Decimal) -> OrderSummaryRow:
    return OrderSummaryRow(
        document=document,
        customer=event.customer,
        country=event.country,
        lines=len(event.lines),
        total=total,
        status="open",
        placed_at=event.placed_at.isoformat(sep=" ", timespec="minutes"),
    )


async def _end(session: AsyncSession, document: str, status: str, recorded: RecordedEvent, reason: str = "") -> None:
    row = await session.get_one(OrderSummaryRow, document)
    row.status, row.reason, row.ended_at = status, reason, recorded.recorded_at
