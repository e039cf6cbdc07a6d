"""`order_fulfilment` with an hour of waiting before the payment, for open sagas as well: the gate has to stop it."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.order import CancelOrder, CompleteOrder, OrderPlaced
    from aggregates.payment import AuthorisePayment, CapturePayment, VoidPayment
    from aggregates.stock import ReleaseStock, ReserveStock
    from sagakit.saga import Saga
    from workflows.order_fulfilment import ship_order


@workflow.defn
class OrderFulfilment(Saga, starts_on=OrderPlaced, key="order_id"):
    """Shipping is the point of no return: before it everything is undone, behind it everything is finished."""

    @workflow.run
    async def run(self, order: OrderPlaced) -> None:
        """Take the order through its steps."""
        self._order_id = order.order_id
        lines = list(enumerate(order.lines, start=1))
        await self.step(
            [ReserveStock(product=o.product, order_id=order.order_id, line=n, quantity=o.quantity) for n, o in lines],
            undo=[ReleaseStock(product=o.product, order_id=order.order_id, line=n) for n, o in lines],
        )
        await self.sleep(timedelta(hours=1))
        await self.step(
            AuthorisePayment(payment_id=order.order_id, amount=order.total, limit=order.payment_limit),
            undo=VoidPayment(payment_id=order.order_id),
        )
        await self.step(ship_order(order), pivot=True)
        await self.step(CapturePayment(payment_id=order.order_id))
        await self.step(CompleteOrder(order_id=order.order_id))

    async def compensated(self, reason: str) -> None:
        """Once everything is undone, say so in the order."""
        await self.conclude(CancelOrder(order_id=self._order_id, reason=reason))
