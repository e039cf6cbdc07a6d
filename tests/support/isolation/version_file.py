"""Version file: operations are recorded as they arrive, under the number that their sender gave them, and done in its order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sagakit import Aggregate, Command, Event, applies, handles
from sagakit.messages import Identifier

Operation = Literal["authorize", "raise", "cancel"]


class Operate(Command, name="operate", id_field="payment"):
    """Do something as the ``number``-th operation on a payment, from 1."""

    payment: Identifier
    number: int
    operation: Operation
    pence: int = 0


class OperationArrived(Event, name="payment.operation_arrived", version=1):
    payment: str
    number: int
    operation: Operation
    pence: int


class Payment(Aggregate, category="payment"):
    """The file holds what arrived; what the payment is follows from the operations up to the first gap."""

    file: dict[int, OperationArrived] = Field(default_factory=dict)

    @property
    def held(self) -> int:
        pence, number = 0, 1
        while arrived := self.file.get(number):
            pence = 0 if arrived.operation == "cancel" else pence + arrived.pence
            number += 1
        return pence

    @property
    def has_gap(self) -> bool:
        return len(self.file) < max(self.file, default=0)

    @handles(Operate)
    def operate(self, command: Operate) -> Event | None:
        return None if command.number in self.file else OperationArrived(**command.model_dump())

    @applies(OperationArrived)
    def _arrived(self, event: OperationArrived) -> None:
        self.file[event.number] = event
