"""Move money between an account of one service and a wallet of another: out here, in there; or back where it was."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from aggregates.account import CreditAccount, DebitAccount, RefundAccount
    from aggregates.transfer import CompleteTransfer, Holder, RejectTransfer, TransferRequested
    from aggregates.wallet import CreditWallet, DebitWallet, RefundWallet
    from sagakit.saga import Saga


@workflow.defn
class MoneyTransfer(Saga, starts_on=TransferRequested, key="transfer_id"):
    """The credit is the point of no return: until then the money is on its way, and its source gets it back."""

    @workflow.run
    async def run(self, transfer: TransferRequested) -> None:
        """Take the money through its steps; the credit says which debit it follows."""
        self._transfer_id = transfer.transfer_id
        debited = await self.step(debit(transfer), undo=refund(transfer))
        await self.step(credit(transfer, debited.recorded), pivot=True)
        await self.step(CompleteTransfer(transfer_id=transfer.transfer_id))

    async def compensated(self, reason: str) -> None:
        """Once the money is back, say so in the transfer."""
        await self.conclude(RejectTransfer(transfer_id=self._transfer_id, reason=reason))


def debit(transfer: TransferRequested) -> DebitAccount | DebitWallet:
    """Take the money from where it is."""
    source, number, pence = transfer.source, transfer.transfer_id, transfer.pence
    if _is_account(source):
        return DebitAccount(account=source.id, transfer_id=number, pence=pence, closing=transfer.closes_source)
    return DebitWallet(wallet=source.id, transfer_id=number, pence=pence)


def refund(transfer: TransferRequested) -> RefundAccount | RefundWallet:
    """Put it back there."""
    source, number, pence = transfer.source, transfer.transfer_id, transfer.pence
    if _is_account(source):
        return RefundAccount(account=source.id, transfer_id=number, pence=pence)
    return RefundWallet(wallet=source.id, transfer_id=number, pence=pence)


def credit(transfer: TransferRequested, after: str) -> CreditAccount | CreditWallet:
    """Put it where it goes; ``after`` is where its debit is recorded."""
    target, number, pence = transfer.target, transfer.transfer_id, transfer.pence
    if _is_account(target):
        return CreditAccount(account=target.id, transfer_id=number, pence=pence, after=after)
    return CreditWallet(wallet=target.id, transfer_id=number, pence=pence, after=after)


def _is_account(holder: Holder) -> bool:
    return holder.kind == "account"
