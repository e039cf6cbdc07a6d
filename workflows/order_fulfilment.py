"""Fulfil an order: reserve, authorise, ship, capture, complete; or undo it all and cancel with the reason."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.order import (
        CancellationRequested,
        CancelOrder,
        CompleteOrder,
        Delivery,
        DropLines,
        NoteDispatch,
        OrderPlaced,
        total_of,
    )
    from aggregates.payment import (
        AuthorisePayment,
        CapturePayment,
        PaymentAnswered,
        PaymentDeclined,
        RequestPayment,
        VoidPayment,
    )  # fmt: skip
    from aggregates.shipment import OpenClaim, ShipmentDelivered, ShipOrder, ShippedLine
    from aggregates.stock import ReleaseStock, ReserveStock
    from sagakit.errors import NotInTime, StepRefused
    from sagakit.saga import Saga

_ANSWERED_WITHIN = timedelta(minutes=30)
_DELIVERED_WITHIN = timedelta(days=14)


@workflow.defn
class OrderFulfilment(
    Saga,
    starts_on=OrderPlaced,
    key="order_id",
    expects={PaymentAnswered: "payment_id", ShipmentDelivered: "order_id"},
    cancels_on={CancellationRequested: "order_id"},
):
    """Shipping is the point of no return: before it everything is undone, behind it everything is finished.

    What an order may ask for beyond that, it says in its data: an order that says nothing takes the short way.
    """

    @workflow.run
    async def run(self, order: OrderPlaced) -> None:
        """Take the order through its steps."""
        self._order_id = order.order_id
        order = await self._reserve_what_there_is(order) if order.may_ship_in_part else await self._reserve_all(order)
        if order.is_paid_by_provider:
            await self._ask_provider(order)
        else:
            await self.step(
                AuthorisePayment(payment_id=order.order_id, amount=order.total, limit=order.payment_limit),
                undo=VoidPayment(payment_id=order.order_id),
            )
        await self.step(ship_order(order), pivot=True)
        if order.awaits_delivery:
            await self.step(NoteDispatch(order_id=order.order_id))
        await self.step(CapturePayment(payment_id=order.order_id))
        delivery: Delivery = await self._delivery_of(order) if order.awaits_delivery else "not awaited"
        await self.step(CompleteOrder(order_id=order.order_id, delivery=delivery))

    async def _reserve_all(self, order: OrderPlaced) -> OrderPlaced:
        lines = list(enumerate(order.lines, start=1))
        await self.step(
            [ReserveStock(product=o.product, order_id=order.order_id, line=n, quantity=o.quantity) for n, o in lines],
            undo=[ReleaseStock(product=o.product, order_id=order.order_id, line=n) for n, o in lines],
        )
        return order

    async def _reserve_what_there_is(self, order: OrderPlaced) -> OrderPlaced:
        """Reserve line by line; drop those that are out of stock before anything is paid. Without any left, all is called off."""
        short, kept = [], []
        for number, line in enumerate(order.lines, start=1):
            try:
                await self.step(
                    ReserveStock(product=line.product, order_id=order.order_id, line=number, quantity=line.quantity),
                    undo=ReleaseStock(product=line.product, order_id=order.order_id, line=number),
                )
                kept.append(line)
            except StepRefused:
                short.append(number)
        if short:
            await self.step(DropLines(order_id=order.order_id, lines=tuple(short)))
        return order.model_copy(update={"lines": tuple(kept), "total": total_of(kept)}) if short else order

    async def _ask_provider(self, order: OrderPlaced) -> None:
        """Wait for the provider's answer; one that comes when nobody waits any more is let go by the payment itself."""
        await self.step(
            RequestPayment(payment_id=order.order_id, amount=order.total, limit=order.payment_limit),
            undo=VoidPayment(payment_id=order.order_id),
        )
        answer = await self.expect(PaymentAnswered, within=_ANSWERED_WITHIN)
        if not answer.is_authorised:
            raise PaymentDeclined(answer.reason)

    async def _delivery_of(self, order: OrderPlaced) -> Delivery:
        """Wait for the carrier, but not for ever: without a word the carrier gets a claim, and the order ends all the same."""
        try:
            await self.expect(ShipmentDelivered, within=_DELIVERED_WITHIN)
        except NotInTime:
            await self.step(OpenClaim(order_id=order.order_id))
            return "unconfirmed"
        return "confirmed"

    async def compensated(self, reason: str) -> None:
        """Once everything is undone, say so in the order."""
        await self.conclude(CancelOrder(order_id=self._order_id, reason=reason))


def ship_order(order: OrderPlaced) -> ShipOrder:
    """Turn the lines of an order into goods with their value."""
    goods = tuple(ShippedLine(product=o.product, quantity=o.quantity, value=o.quantity * o.unit_price) for o in order.lines)
    return ShipOrder(order_id=order.order_id, country=order.country, lines=goods)
