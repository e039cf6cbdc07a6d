"""An account: money goes in and out, never below zero; a closed one takes none."""

from pydantic import Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class OpenAccount(Command, name="open_account", id_field="account"):
    """Open it with the first money in it; one that is open stays as it is."""

    account: Identifier
    pence: int = Field(ge=0)


class DebitAccount(Command, name="debit_account", id_field="account"):
    """Take money out for a transfer; ``closing`` closes the account behind its last one."""

    account: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)
    closing: bool = False


class CreditAccount(Command, name="credit_account", id_field="account"):
    """Put the money of a transfer in; ``after`` is where its debit is recorded, as ``<stream>@<version>``."""

    account: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)
    after: str


class RefundAccount(Command, name="refund_account", id_field="account"):
    """Put back what a transfer took out."""

    account: Identifier
    transfer_id: Identifier
    pence: int = Field(gt=0)


class ReopenAccount(Command, name="reopen_account", id_field="account"):
    """Open a closed account again; one that is open stays as it is."""

    account: Identifier


class AccountOpened(Event, name="account.opened", version=1):
    """It is open, with the first money in it."""

    account: str
    pence: int


class AccountDebited(Event, name="account.debited", version=1):
    """The money of a transfer is out, and on its way."""

    account: str
    transfer_id: str
    pence: int


class AccountCredited(Event, name="account.credited", version=1):
    """The money of a transfer is in; ``after`` names the debit in the log that it comes from."""

    account: str
    transfer_id: str
    pence: int
    after: str


class AccountRefunded(Event, name="account.refunded", version=1):
    """The money of a transfer is back."""

    account: str
    transfer_id: str
    pence: int


class AccountShut(Event, name="account.closed", version=1):
    """It takes no more money."""

    account: str


class AccountReopened(Event, name="account.reopened", version=1):
    """It takes money again."""

    account: str


class InsufficientFunds(DomainError):
    """No more goes out than is in."""


class AccountClosed(DomainError):
    """A closed account, or one that was never opened, moves no money."""


class Account(Aggregate, category="account"):
    """Never below zero, and nothing moves once it is closed."""

    pence: int = 0
    is_open: bool = False

    @handles(OpenAccount)
    def open(self, command: OpenAccount) -> Event | None:
        return None if self.exists else AccountOpened(account=self.id, pence=command.pence)

    @handles(DebitAccount)
    def debit(self, command: DebitAccount) -> list[Event]:
        self._must_be_open()
        if command.pence > self.pence:
            raise InsufficientFunds(f"account {self.id} holds {self.pence} pence, {command.pence} wanted")
        debited = AccountDebited(account=self.id, transfer_id=command.transfer_id, pence=command.pence)
        return [debited, AccountShut(account=self.id)] if command.closing else [debited]

    @handles(CreditAccount)
    def credit(self, command: CreditAccount) -> Event:
        self._must_be_open()
        return AccountCredited(account=self.id, transfer_id=command.transfer_id, pence=command.pence, after=command.after)

    @handles(RefundAccount)
    def refund(self, command: RefundAccount) -> Event:
        self._must_be_open()
        return AccountRefunded(account=self.id, transfer_id=command.transfer_id, pence=command.pence)

    @handles(ReopenAccount)
    def reopen(self, _command: ReopenAccount) -> Event | None:
        return AccountReopened(account=self.id) if self.exists and not self.is_open else None

    def _must_be_open(self) -> None:
        if not self.is_open:
            raise AccountClosed(f"account {self.id} is not open")

    @applies(AccountOpened)
    def _opened(self, event: AccountOpened) -> None:
        self.is_open, self.pence = True, event.pence

    @applies(AccountDebited)
    def _debited(self, event: AccountDebited) -> None:
        self.pence -= event.pence

    @applies(AccountCredited)
    def _credited(self, event: AccountCredited) -> None:
        self.pence += event.pence

    @applies(AccountRefunded)
    def _refunded(self, event: AccountRefunded) -> None:
        self.pence += event.pence

    @applies(AccountShut)
    def _closed(self, _event: AccountShut) -> None:
        self.is_open = False

    @applies(AccountReopened)
    def _reopened(self, _event: AccountReopened) -> None:
        self.is_open = True
