"""By value: small amounts take the quick path, whose anomaly costs little; from a threshold on, the strict one."""

from __future__ import annotations

from sagakit import Aggregate, Command, DomainError, Event, Service, applies, handles
from sagakit.messages import Identifier

STRICT_FROM = 50


class FillTill(Command, name="fill_till", id_field="till"):
    till: Identifier
    pence: int


class PayOut(Command, name="pay_out", id_field="till"):
    """The strict path: the till itself looks whether there is enough."""

    till: Identifier
    pence: int


class NotePayment(Command, name="note_payment", id_field="till"):
    """The quick path: somebody looked, a moment ago, and has paid already."""

    till: Identifier
    pence: int


class TillMoved(Event, name="till.moved", version=1):
    till: str
    pence: int


class TillTooLow(DomainError):
    """No more goes out than is in."""


class Till(Aggregate, category="till"):
    pence: int = 0

    @handles(FillTill)
    def fill(self, command: FillTill) -> Event:
        return TillMoved(till=self.id, pence=command.pence)

    @handles(PayOut)
    def pay_out(self, command: PayOut) -> Event:
        if command.pence > self.pence:
            raise TillTooLow(f"{self.pence} are left")
        return TillMoved(till=self.id, pence=-command.pence)

    @handles(NotePayment)
    def note(self, command: NotePayment) -> Event:
        return TillMoved(till=self.id, pence=-command.pence)

    @applies(TillMoved)
    def _moved(self, event: TillMoved) -> None:
        self.pence += event.pence


def payment_of(till: str, pence: int) -> PayOut | NotePayment:
    """Take the path that the amount is worth: ``await self.step(payment_of(till, pence))``."""
    return NotePayment(till=till, pence=pence) if pence < STRICT_FROM else PayOut(till=till, pence=pence)


SERVICE = Service("tills", aggregates=(Till,))
