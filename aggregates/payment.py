"""A payment: authorised, here or by a provider, then captured or voided; or a refund that stands alone."""

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


class RequestPayment(Command, name="request_payment", id_field="payment_id"):
    """Ask the payment provider to hold an amount in GBP; its answer comes as `AnswerPayment`."""

    payment_id: Identifier
    amount: Decimal = Field(gt=0)
    limit: Decimal | None = None


class AnswerPayment(Command, name="answer_payment", id_field="payment_id"):
    """Take the provider's answer; ``reason`` is why it holds nothing."""

    payment_id: Identifier
    is_authorised: bool
    reason: str = ""


class VoidPayment(Command, name="void_payment", id_field="payment_id"):
    """Let the held amount go."""

    payment_id: Identifier


class CapturePayment(Command, name="capture_payment", id_field="payment_id"):
    """Take the held amount."""

    payment_id: Identifier


class RefundPayment(Command, name="refund_payment", id_field="payment_id"):
    """Pay an amount back, of the payment ``of_payment`` where it is known which."""

    payment_id: Identifier
    amount: Decimal = Field(gt=0)
    of_payment: str = ""


class PaymentRequested(Event, name="payment.requested", version=1):
    """The provider is to hold the amount, up to the limit."""

    payment_id: str
    amount: Decimal
    limit: Decimal | None = None


class PaymentAnswered(Event, name="payment.answered", version=1):
    """The provider has answered in time."""

    payment_id: str
    is_authorised: bool
    reason: str = ""


class PaymentGivenUp(Event, name="payment.given_up", version=1):
    """Nobody waits for the provider's answer any more: what it holds, or will hold, it lets go."""

    payment_id: str
    amount: Decimal


class PaymentAnsweredLate(Event, name="payment.answered_late", version=1):
    """The provider has answered when the payment had been given up."""

    payment_id: str
    is_authorised: bool


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
    of_payment: str = ""


class PaymentDeclined(DomainError):
    """Nothing above the limit of the means of payment is held."""


class PaymentNotHeld(DomainError):
    """Only a held amount can be taken or let go."""


class PaymentNotRequested(DomainError):
    """A provider answers what it was asked."""


class PaymentAlreadyKnown(DomainError):
    """A payment id is used once."""


class Payment(Aggregate, category="payment"):
    """An amount is held once, and then taken or let go, never both; an answer that comes too late holds nothing."""

    status: Literal["new", "requested", "declined", "given up", "held", "voided", "captured", "refunded"] = "new"
    amount: Decimal = Decimal(0)

    @handles(AuthorisePayment)
    def authorise(self, command: AuthorisePayment) -> Event:
        self._must_be_new()
        if command.limit is not None and command.amount > command.limit:
            raise PaymentDeclined(f"payment declined: {command.amount} is over the limit of {command.limit}")
        return PaymentAuthorised(payment_id=self.id, amount=command.amount)

    @handles(RequestPayment)
    def request(self, command: RequestPayment) -> Event:
        self._must_be_new()
        return PaymentRequested(payment_id=self.id, amount=command.amount, limit=command.limit)

    @handles(AnswerPayment)
    def answer(self, command: AnswerPayment) -> list[Event]:
        if not self.exists:
            raise PaymentNotRequested(f"payment {self.id} was never requested")
        if self.status == "given up":
            return [PaymentAnsweredLate(payment_id=self.id, is_authorised=command.is_authorised)]
        if self.status != "requested":
            return []
        held: list[Event] = [PaymentAuthorised(payment_id=self.id, amount=self.amount)] if command.is_authorised else []
        answer = PaymentAnswered(payment_id=self.id, is_authorised=command.is_authorised, reason=command.reason)
        return [*held, answer]

    @handles(VoidPayment)
    def void(self, _command: VoidPayment) -> Event | None:
        if self.status == "requested":
            return PaymentGivenUp(payment_id=self.id, amount=self.amount)
        if self.status == "declined":
            return None
        self._must_be_held()
        return PaymentVoided(payment_id=self.id, amount=self.amount)

    @handles(CapturePayment)
    def capture(self, _command: CapturePayment) -> Event:
        self._must_be_held()
        return PaymentCaptured(payment_id=self.id, amount=self.amount)

    @handles(RefundPayment)
    def refund(self, command: RefundPayment) -> Event:
        self._must_be_new()
        return PaymentRefunded(payment_id=self.id, amount=command.amount, of_payment=command.of_payment)

    def _must_be_new(self) -> None:
        if self.exists:
            raise PaymentAlreadyKnown(f"payment {self.id} is {self.status} already")

    def _must_be_held(self) -> None:
        if self.status != "held":
            raise PaymentNotHeld(f"payment {self.id} is {self.status}, not held")

    @applies(PaymentRequested)
    def _requested(self, event: PaymentRequested) -> None:
        self.status, self.amount = "requested", event.amount

    @applies(PaymentAnswered)
    def _answered(self, event: PaymentAnswered) -> None:
        self.status = "held" if event.is_authorised else "declined"

    @applies(PaymentGivenUp)
    def _given_up(self, _event: PaymentGivenUp) -> None:
        self.status = "given up"

    @applies(PaymentAnsweredLate)
    def _answered_late(self, _event: PaymentAnsweredLate) -> None: ...

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
