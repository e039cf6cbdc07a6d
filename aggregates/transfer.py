"""A transfer of money from one holder to another: requested, then completed or rejected with the reason."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier


class Holder(BaseModel):
    """Who has money: an account of one service or a wallet of the other, by its id."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["account", "wallet"]
    id: Identifier


class RequestTransfer(Command, name="request_transfer", id_field="transfer_id"):
    """Ask for an amount in pence to be moved; ``closes_source`` closes the account it comes from."""

    transfer_id: Identifier
    source: Holder
    target: Holder
    pence: int = Field(gt=0)
    closes_source: bool = False


class CompleteTransfer(Command, name="complete_transfer", id_field="transfer_id"):
    """Say that the money has arrived."""

    transfer_id: Identifier


class RejectTransfer(Command, name="reject_transfer", id_field="transfer_id"):
    """Say that the money is where it was, and why."""

    transfer_id: Identifier
    reason: str


class TransferRequested(Event, name="transfer.requested", version=1):
    """The money is to be moved."""

    transfer_id: str
    source: Holder
    target: Holder
    pence: int
    closes_source: bool = False


class TransferCompleted(Event, name="transfer.completed", version=1):
    """The money has arrived."""

    transfer_id: str


class TransferRejected(Event, name="transfer.rejected", version=1):
    """The money is where it was."""

    transfer_id: str
    reason: str


class TransferAlreadyRequested(DomainError):
    """A transfer id is used once."""


class SameHolder(DomainError):
    """Money is moved between two holders."""


class OnlyAccountsClose(DomainError):
    """A wallet has no end."""


class TransferNotOpen(DomainError):
    """A transfer ends once."""


class Transfer(Aggregate, category="transfer"):
    """It is requested once, and ends once."""

    status: Literal["new", "requested", "completed", "rejected"] = "new"

    @handles(RequestTransfer)
    def request(self, command: RequestTransfer) -> Event:
        if self.exists:
            raise TransferAlreadyRequested(f"transfer {self.id} is {self.status} already")
        if command.source == command.target:
            raise SameHolder(f"transfer {self.id} goes from {command.source.kind} {command.source.id} to itself")
        if command.closes_source and command.source.kind != "account":
            raise OnlyAccountsClose(f"transfer {self.id} would close the wallet {command.source.id}")
        return TransferRequested(**command.model_dump())

    @handles(CompleteTransfer)
    def complete(self, _command: CompleteTransfer) -> Event:
        self._must_be_open()
        return TransferCompleted(transfer_id=self.id)

    @handles(RejectTransfer)
    def reject(self, command: RejectTransfer) -> Event:
        self._must_be_open()
        return TransferRejected(transfer_id=self.id, reason=command.reason)

    def _must_be_open(self) -> None:
        if self.status != "requested":
            raise TransferNotOpen(f"transfer {self.id} is {self.status}")

    @applies(TransferRequested)
    def _requested(self, _event: TransferRequested) -> None:
        self.status = "requested"

    @applies(TransferCompleted)
    def _completed(self, _event: TransferCompleted) -> None:
        self.status = "completed"

    @applies(TransferRejected)
    def _rejected(self, _event: TransferRejected) -> None:
        self.status = "rejected"
