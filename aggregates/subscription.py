"""A subscription: begun, renewed month by month, in grace while it is unpaid, ended once."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class BeginSubscription(Command, name="begin_subscription", id_field="subscription"):
    """Subscribe for a number of months, the first of which is paid for at a moment."""

    subscription: Identifier
    card: Identifier
    pence: int = Field(gt=0)
    months: int = Field(ge=1, le=1200)
    first_due: datetime


class RenewSubscription(Command, name="renew_subscription", id_field="subscription"):
    """Say that a month is paid for."""

    subscription: Identifier
    month: int = Field(ge=1)


class GiveGrace(Command, name="give_grace", id_field="subscription"):
    """Say that a month is unpaid, and that it may be paid for later."""

    subscription: Identifier
    month: int = Field(ge=1)


class AskToEnd(Command, name="ask_to_end", id_field="subscription"):
    """The customer wants no further month."""

    subscription: Identifier


class EndSubscription(Command, name="end_subscription", id_field="subscription"):
    """End it, with the reason."""

    subscription: Identifier
    reason: str


class SubscriptionBegun(Event, name="subscription.begun", version=1):
    """It runs from now on."""

    subscription: str
    card: str
    pence: int
    months: int
    first_due: datetime


class SubscriptionRenewed(Event, name="subscription.renewed", version=1):
    """A month is paid for."""

    subscription: str
    month: int


class GraceGiven(Event, name="subscription.grace_given", version=1):
    """A month is unpaid."""

    subscription: str
    month: int


class EndAsked(Event, name="subscription.end_asked", version=1):
    """The customer wants no further month."""

    subscription: str


class SubscriptionEnded(Event, name="subscription.ended", version=1):
    """It has ended."""

    subscription: str
    reason: str


class SubscriptionKnown(DomainError):
    """A subscription's id is used once."""


class NotRunning(DomainError):
    """Only what runs can be renewed or ended."""


class Subscription(Aggregate, category="subscription"):
    """It ends once, and is renewed only while it runs."""

    status: Literal["new", "running", "in grace", "ended"] = "new"
    paid_months: int = 0

    @handles(BeginSubscription)
    def begin(self, command: BeginSubscription) -> Event:
        if self.exists:
            raise SubscriptionKnown(f"subscription {self.id} is {self.status} already")
        return SubscriptionBegun(**command.model_dump())

    @handles(RenewSubscription)
    def renew(self, command: RenewSubscription) -> Event:
        self._must_run()
        return SubscriptionRenewed(subscription=self.id, month=command.month)

    @handles(GiveGrace)
    def give_grace(self, command: GiveGrace) -> Event:
        self._must_run()
        return GraceGiven(subscription=self.id, month=command.month)

    @handles(AskToEnd)
    def ask_to_end(self, _command: AskToEnd) -> Event:
        self._must_run()
        return EndAsked(subscription=self.id)

    @handles(EndSubscription)
    def end(self, command: EndSubscription) -> Event:
        self._must_run()
        return SubscriptionEnded(subscription=self.id, reason=command.reason)

    def _must_run(self) -> None:
        if self.status not in ("running", "in grace"):
            raise NotRunning(f"subscription {self.id} is {self.status}")

    @applies(SubscriptionBegun)
    def _begun(self, _event: SubscriptionBegun) -> None:
        self.status = "running"

    @applies(SubscriptionRenewed)
    def _renewed(self, event: SubscriptionRenewed) -> None:
        self.status, self.paid_months = "running", event.month

    @applies(GraceGiven)
    def _in_grace(self, _event: GraceGiven) -> None:
        self.status = "in grace"

    @applies(EndAsked)
    def _asked(self, _event: EndAsked) -> None: ...

    @applies(SubscriptionEnded)
    def _ended(self, _event: SubscriptionEnded) -> None:
        self.status = "ended"
