"""A customer's card, from which amounts are taken as long as its bank allows it."""

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class BlockCard(Command, name="block_card", id_field="card"):
    """Let nothing be taken any more."""

    card: Identifier


class UnblockCard(Command, name="unblock_card", id_field="card"):
    """Let amounts be taken again, for the sake of one subscription."""

    card: Identifier
    subscription: Identifier


class ChargeCard(Command, name="charge_card", id_field="card"):
    """Take the price of a month."""

    card: Identifier
    subscription: Identifier
    month: int = Field(ge=1)
    pence: int = Field(gt=0)


class CardBlocked(Event, name="card.blocked", version=1):
    """Nothing is taken from it."""

    card: str


class CardUnblocked(Event, name="card.unblocked", version=1):
    """Amounts are taken from it again."""

    card: str
    subscription: str


class CardCharged(Event, name="card.charged", version=1):
    """The price of a month was taken."""

    card: str
    subscription: str
    month: int
    pence: int


class ChargeDeclined(DomainError):
    """Nothing is taken from a blocked card."""


class ChargedAlready(DomainError):
    """A month is paid for once."""


class Card(Aggregate, category="card"):
    """It charges a month of a subscription once."""

    is_blocked: bool = False
    charged: dict[str, int] = Field(default_factory=dict)

    @handles(BlockCard)
    def block(self, _command: BlockCard) -> Event | None:
        return None if self.is_blocked else CardBlocked(card=self.id)

    @handles(UnblockCard)
    def unblock(self, command: UnblockCard) -> Event:
        return CardUnblocked(card=self.id, subscription=command.subscription)

    @handles(ChargeCard)
    def charge(self, command: ChargeCard) -> Event:
        if command.month <= self.charged.get(command.subscription, 0):
            raise ChargedAlready(f"month {command.month} of {command.subscription} is paid for")
        if self.is_blocked:
            raise ChargeDeclined(f"card {self.id} is blocked")
        return CardCharged(card=self.id, subscription=command.subscription, month=command.month, pence=command.pence)

    @applies(CardBlocked)
    def _blocked(self, _event: CardBlocked) -> None:
        self.is_blocked = True

    @applies(CardUnblocked)
    def _unblocked(self, _event: CardUnblocked) -> None:
        self.is_blocked = False

    @applies(CardCharged)
    def _charged(self, event: CardCharged) -> None:
        self.charged[event.subscription] = event.month
