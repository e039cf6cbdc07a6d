"""Take a return in: restock every line, refund, close."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.order_return import CloseReturn, ReturnOpened
    from aggregates.payment import RefundPayment
    from aggregates.stock import RestockProduct
    from sagakit.saga import Saga


@workflow.defn
class TakeReturn(Saga, starts_on=ReturnOpened, key="return_id", name="order-return"):
    """The goods are here already, so there is no way back: every step is finished."""

    @workflow.run
    async def run(self, opened: ReturnOpened) -> None:
        """Take the return through its steps."""
        await self.step(
            [
                RestockProduct(product=line.product, return_id=opened.return_id, line=number, quantity=line.quantity)
                for number, line in enumerate(opened.lines, start=1)
            ],
            pivot=True,
        )
        await self.step(RefundPayment(payment_id=opened.return_id, amount=opened.refund))
        await self.step(CloseReturn(return_id=opened.return_id))
