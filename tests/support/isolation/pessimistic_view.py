"""Pessimistic view: a saga that calls an order off frees its credit last, when nothing can be refused any more."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from sagakit import Aggregate, Command, DomainError, Event, Saga, Service, applies, handles
    from sagakit.messages import Identifier


class ReserveCredit(Command, name="reserve_credit", id_field="customer"):
    customer: Identifier
    pence: int


class FreeCredit(Command, name="free_credit", id_field="customer"):
    customer: Identifier
    pence: int


class TakeCreditBack(Command, name="take_credit_back", id_field="customer"):
    """Undo the freeing: it is never refused, as no undo may be."""

    customer: Identifier
    pence: int


class StopDelivery(Command, name="stop_delivery", id_field="delivery"):
    delivery: Identifier


class CreditMoved(Event, name="customer.credit_moved", version=1):
    customer: str
    pence: int


class CreditExceeded(DomainError):
    """A customer owes a hundred at most."""


class HasLeft(DomainError):
    """What has left cannot be stopped."""


class Customer(Aggregate, category="customer"):
    owes: int = 0

    @handles(ReserveCredit)
    def reserve(self, command: ReserveCredit) -> Event:
        if self.owes + command.pence > 100:
            raise CreditExceeded(f"{self.id} owes {self.owes}")
        return CreditMoved(customer=self.id, pence=command.pence)

    @handles(FreeCredit)
    def free(self, command: FreeCredit) -> Event:
        return CreditMoved(customer=self.id, pence=-command.pence)

    @handles(TakeCreditBack)
    def take_back(self, command: TakeCreditBack) -> Event:
        return CreditMoved(customer=self.id, pence=command.pence)

    @applies(CreditMoved)
    def _moved(self, event: CreditMoved) -> None:
        self.owes += event.pence


class Delivery(Aggregate, category="delivery"):
    """In this example every delivery has left already."""

    @handles(StopDelivery)
    def stop(self, _command: StopDelivery) -> None:
        raise HasLeft(f"delivery {self.id} is on its way")


class CallOff(Command, name="call_off", id_field="cancellation"):
    cancellation: Identifier
    customer: Identifier
    delivery: Identifier
    pence: int


class OrderCalledOff(Event, name="cancellation.asked", version=1):
    cancellation: str
    customer: str
    delivery: str
    pence: int


class Cancellation(Aggregate, category="cancellation"):
    @handles(CallOff)
    def call_off(self, command: CallOff) -> Event:
        return OrderCalledOff(**command.model_dump())

    @applies(OrderCalledOff)
    def _called_off(self, event: OrderCalledOff) -> None: ...


@workflow.defn
class CancelOrder(Saga, starts_on=OrderCalledOff, key="cancellation"):
    """What others may spend is freed behind the pivot, where nothing is undone."""

    @workflow.run
    async def run(self, asked: OrderCalledOff) -> None:
        await self.step(StopDelivery(delivery=asked.delivery), pivot=True)
        await self.step(FreeCredit(customer=asked.customer, pence=asked.pence))


SERVICE = Service("credit", aggregates=(Customer, Delivery, Cancellation), sagas=(CancelOrder,))
