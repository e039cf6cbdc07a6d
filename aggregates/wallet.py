"""A wallet: an amount of money up to a limit, as a telephone carries it."""

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class OpenWallet(Command, name="open_wallet", id_field="wallet"):
    """Open it with the first money in it; one that is open stays as it is."""

    wallet: Identifier
    pence: int = Field(ge=0)
    limit: int = Field(gt=0)


class DebitWallet(Command, name="debit_wallet", id_field="wallet"):
    """Take money out for a transfer."""

    wallet: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)


class CreditWallet(Command, name="credit_wallet", id_field="wallet"):
    """Put the money of a transfer in; ``after`` is where its debit is recorded, as ``<stream>@<version>``."""

    wallet: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)
    after: str


class RefundWallet(Command, name="refund_wallet", id_field="wallet"):
    """Put back what a transfer took out, over the limit if need be."""

    wallet: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)


class WalletOpened(Event, name="wallet.opened", version=1):
    """It is there, with the first money in it."""

    wallet: str
    pence: int
    limit: int


class WalletDebited(Event, name="wallet.debited", version=1):
    """The money of a transfer is out, and on its way."""

    wallet: str
    transfer_id: str
    pence: int


class WalletCredited(Event, name="wallet.credited", version=1):
    """The money of a transfer is in; ``after`` names the debit in the log that it comes from."""

    wallet: str
    transfer_id: str
    pence: int
    after: str


class WalletRefunded(Event, name="wallet.refunded", version=1):
    """The money of a transfer is back."""

    wallet: str
    transfer_id: str
    pence: int


class WalletTooLow(DomainError):
    """No more goes out than is in."""


class WalletFull(DomainError):
    """No more goes in than its limit."""


class Wallet(Aggregate, category="wallet"):
    """Never below zero, and never filled above its limit."""

    pence: int = 0
    limit: int = 0

    @handles(OpenWallet)
    def open(self, command: OpenWallet) -> Event | None:
        return None if self.exists else WalletOpened(wallet=self.id, pence=command.pence, limit=command.limit)

    @handles(DebitWallet)
    def debit(self, command: DebitWallet) -> Event:
        if command.pence > self.pence:
            raise WalletTooLow(f"wallet {self.id} holds {self.pence} pence, {command.pence} wanted")
        return WalletDebited(wallet=self.id, transfer_id=command.transfer_id, pence=command.pence)

    @handles(CreditWallet)
    def credit(self, command: CreditWallet) -> Event:
        if self.pence + command.pence > self.limit:
            raise WalletFull(f"wallet {self.id} holds {self.pence} pence, and {self.limit} at most")
        return WalletCredited(wallet=self.id, transfer_id=command.transfer_id, pence=command.pence, after=command.after)

    @handles(RefundWallet)
    def refund(self, command: RefundWallet) -> Event:
        return WalletRefunded(wallet=self.id, transfer_id=command.transfer_id, pence=command.pence)

    @applies(WalletOpened)
    def _opened(self, event: WalletOpened) -> None:
        self.pence, self.limit = event.pence, event.limit

    @applies(WalletDebited)
    def _debited(self, event: WalletDebited) -> None:
        self.pence -= event.pence

    @applies(WalletCredited)
    def _credited(self, event: WalletCredited) -> None:
        self.pence += event.pence

    @applies(WalletRefunded)
    def _refunded(self, event: WalletRefunded) -> None:
        self.pence += event.pence
