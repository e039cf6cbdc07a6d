"""A payment: authorised, then captured or voided; or a refund that stands alone."""

from decimal import Decimal
from typing import Literal

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class AuthorisePayment(Command, name="authorise_payment", id_field="payment_id"):
    """Hold an amount in GBP; ``limit`` is what the means of payment covers, nothing means everything."""

    payment_id: Identifier
    amount: Decimal = Field(gt=0)
    limit: Decimal | None = None


class VoidPayment(Command, name="void_payment", id_field="payment_id"):
    """Let the held amount go."""

    payment_id: Identifier


class CapturePayment(Command, name="capture_payment", id_field="payment_id"):
    """Take the held amount."""

    payment_id: Identifier


class RefundPayment(Command, name="refund_payment", id_field="payment_id"):
    """Pay an amount back."""

    payment_id: Identifier
    amount: Decimal = Field(gt=0)


class PaymentAuthorised(Event, name="payment.authorised", version=1):
    """The amount is held."""

    payment_id: str
    amount: Decimal


class PaymentVoided(Event, name="payment.voided", version=1):
    """The amount is free again."""

    payment_id: str
    amount: Decimal


class PaymentCaptured(Event, name="payment.captured", version=1):
    """The amount is taken."""

    payment_id: str
    amount: Decimal


class PaymentRefunded(Event, name="payment.refunded", version=1):
    """The amount is paid back."""

    payment_id: str
    amount: Decimal


class PaymentDeclined(DomainError):
    """Nothing above the limit of the means of payment is held."""


class PaymentNotHeld(DomainError):
    """Only a held amount can be taken or let go."""


class PaymentAlreadyKnown(DomainError):
    """A payment id is used once."""


class Payment(Aggregate, category="payment"):
    """An amount is held once, and then taken or let go, never both."""

    status: Literal["new", "held", "voided", "captured", "refunded"] = "new"
    amount: Decimal = Decimal(0)

    @handles(AuthorisePayment)
    def authorise(self, command: AuthorisePayment) -> Event:
        self._must_be_new()
        if command.limit is not None and command.amount > command.limit:
            raise PaymentDeclined(f"payment declined: {command.amount} is over the limit of {command.limit}")
        return PaymentAuthorised(payment_id=self.id, amount=command.amount)

    @handles(VoidPayment)
    def void(self, _command: VoidPayment) -> Event:
        self._must_be_held()
        return PaymentVoided(payment_id=self.id, amount=self.amount)

    @handles(CapturePayment)
    def capture(self, _command: CapturePayment) -> Event:
        self._must_be_held()
        return PaymentCaptured(payment_id=self.id, amount=self.amount)

    @handles(RefundPayment)
    def refund(self, command: RefundPayment) -> Event:
        self._must_be_new()
        return PaymentRefunded(payment_id=self.id, amount=command.amount)

    def _must_be_new(self) -> None:
        if self.exists:
            raise PaymentAlreadyKnown(f"payment {self.id} is {self.status} already")

    def _must_be_held(self) -> None:
        if self.status != "held":
            raise PaymentNotHeld(f"payment {self.id} is {self.status}, not held")

    @applies(PaymentAuthorised)
    def _authorised(self, event: PaymentAuthorised) -> None:
        self.status, self.amount = "held", event.amount

    @applies(PaymentVoided)
    def _voided(self, _event: PaymentVoided) -> None:
        self.status = "voided"

    @applies(PaymentCaptured)
    def _captured(self, _event: PaymentCaptured) -> None:
        self.status = "captured"

    @applies(PaymentRefunded)
    def _refunded(self, event: PaymentRefunded) -> None:
        self.status, self.amount = "refunded", event.amount
