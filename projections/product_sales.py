"""Product sales: one row per product, of the reporting service, fed over the bus by orders and shipping."""

from decimal import Decimal

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from aggregates.order_return import ReturnClosed
from aggregates.shipment import OrderShipped
from sagakit.messages import RecordedEvent
from sagakit.projection import Projection, projects
from sagakit.sql.money import Money


class ProductSalesRow(SQLModel, table=True):
    """A product: units shipped and returned; revenue is the value shipped less the value returned, in GBP."""

    __tablename__ = "product_sales"
    product: str = Field(primary_key=True)
    shipped_quantity: int = Field(default=0, sa_type=BigInteger)
    returned_quantity: int = Field(default=0, sa_type=BigInteger)
    revenue: Decimal = Field(default=Decimal(0), sa_type=Money)


class ProductSales(Projection, name="product_sales", table=ProductSalesRow):
    """What was sold of each product. Additions only, so the order of events does not matter."""

    @projects(OrderShipped)
    async def _shipped(self, session: AsyncSession, event: OrderShipped, _recorded: RecordedEvent) -> None:
        for line in event.lines:
            row = await _row(session, line.product)
            row.shipped_quantity += line.quantity
            row.revenue += line.value

    @projects(ReturnClosed)
    async def _returned(self, session: AsyncSession, event: ReturnClosed, _recorded: RecordedEvent) -> None:
        for line in event.lines:
            row = await _row(session, line.product)
            row.returned_quantity += line.quantity
            row.revenue -= line.quantity * line.unit_price


async def _row(session: AsyncSession, product: str) -> ProductSalesRow:
    row = await session.get(ProductSalesRow, product, with_for_update=True)
    if row is None:
        row = ProductSalesRow(product=product)
        session.add(row)
    return row
