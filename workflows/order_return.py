"""Take a return in: count it against its order, restock every line, refund, close."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.order import AcceptReturn, ReturnedLine
    from aggregates.order_return import CloseReturn, RefuseReturn, ReturnOpened
    from aggregates.payment import RefundPayment
    from aggregates.stock import RestockProduct
    from sagakit.saga import Saga


@workflow.defn
class TakeReturn(Saga, starts_on=ReturnOpened, key="return_id", name="order-return"):
    """The goods are here already, so there is no way back: once the order has accepted them, every step is finished.

    A return that names no order is taken on trust.
    """

    @workflow.run
    async def run(self, opened: ReturnOpened) -> None:
        """Take the return through its steps."""
        self._opened = opened
        restock = [
            RestockProduct(product=line.product, return_id=opened.return_id, line=number, quantity=line.quantity)
            for number, line in enumerate(opened.lines, start=1)
        ]
        if opened.order_id:
            goods = tuple(ReturnedLine(product=o.product, quantity=o.quantity, unit_price=o.unit_price) for o in opened.lines)
            await self.step(AcceptReturn(order_id=opened.order_id, return_id=opened.return_id, lines=goods), pivot=True)
            await self.step(restock)
        else:
            await self.step(restock, pivot=True)
        await self.step(RefundPayment(payment_id=opened.return_id, amount=opened.refund, of_payment=opened.order_id or ""))
        await self.step(CloseReturn(return_id=opened.return_id))

    async def compensated(self, reason: str) -> None:
        """Say in the return why the order did not accept it."""
        if self._opened.order_id:
            await self.conclude(RefuseReturn(return_id=self._opened.return_id, reason=reason))
