"""The rules of accounts, wallets and transfers."""

from __future__ import annotations

import pytest

from aggregates.account import (
    Account,
    AccountClosed,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AccountRefunded,
    AccountReopened,
    AccountShut,
    CreditAccount,
    DebitAccount,
    InsufficientFunds,
    OpenAccount,
    RefundAccount,
    ReopenAccount,
)
from aggregates.transfer import (
    CompleteTransfer,
    Holder,
    OnlyAccountsClose,
    RejectTransfer,
    RequestTransfer,
    SameHolder,
    Transfer,
    TransferAlreadyRequested,
    TransferCompleted,
    TransferNotOpen,
    TransferRequested,
)
from aggregates.wallet import (
    CreditWallet,
    DebitWallet,
    RefundWallet,
    Wallet,
    WalletCredited,
    WalletDebited,
    WalletFull,
    WalletOpened,
    WalletRefunded,
    WalletTooLow,
)
from sagakit.messages import Command
from sagakit.testing import given

ACCOUNT, WALLET = Holder(kind="account", id="a"), Holder(kind="wallet", id="w")
OPENED = AccountOpened(account="a", pence=100)
DEBITED = AccountDebited(account="a", transfer_id="t", pence=60)
FILLED = WalletOpened(wallet="w", pence=30, limit=50)
REQUESTED = TransferRequested(transfer_id="t", source=ACCOUNT, target=WALLET, pence=60)


def test_an_account_is_never_below_zero() -> None:
    given(Account, OPENED).when(DebitAccount(account="a", transfer_id="t", pence=60)).then(DEBITED)
    given(Account, OPENED, DEBITED).when(DebitAccount(account="a", transfer_id="u", pence=41)).refused(InsufficientFunds)
    given(Account, OPENED).when(OpenAccount(account="a", pence=7)).then()


def test_a_closed_account_takes_nothing_not_even_its_own_money_until_it_is_opened_again() -> None:
    closing = DebitAccount(account="a", transfer_id="t", pence=60, closing=True)
    given(Account, OPENED).when(closing).then(DEBITED, AccountShut(account="a"))
    refund = RefundAccount(account="a", transfer_id="t", pence=60)
    closed = given(Account, OPENED, DEBITED, AccountShut(account="a"))
    closed.when(refund).refused(AccountClosed)
    closed.when(CreditAccount(account="a", transfer_id="u", pence=1, after="wallet-w@2")).refused(AccountClosed)
    closed.when(ReopenAccount(account="a")).then(AccountReopened(account="a"))
    again = given(Account, OPENED, DEBITED, AccountShut(account="a"), AccountReopened(account="a"))
    account = again.when(refund).then(AccountRefunded(account="a", transfer_id="t", pence=60))
    assert account.pence == 100
    again.when(ReopenAccount(account="a")).then()


@pytest.mark.parametrize(
    "command", [DebitAccount(account="a", transfer_id="t", pence=1), RefundAccount(account="a", transfer_id="t", pence=1)]
)
def test_an_account_that_was_never_opened_moves_nothing(command: Command) -> None:
    given(Account).when(command).refused(AccountClosed)


def test_a_credit_says_which_debit_it_follows() -> None:
    credit = CreditAccount(account="a", transfer_id="t", pence=5, after="wallet-w@2")
    account = given(Account, OPENED).when(credit).then(AccountCredited(account="a", transfer_id="t", pence=5, after="wallet-w@2"))
    assert account.pence == 105


def test_a_wallet_stays_between_nothing_and_its_limit() -> None:
    given(Wallet, FILLED).when(DebitWallet(wallet="w", transfer_id="t", pence=31)).refused(WalletTooLow)
    given(Wallet, FILLED).when(DebitWallet(wallet="w", transfer_id="t", pence=30)).then(
        WalletDebited(wallet="w", transfer_id="t", pence=30)
    )
    given(Wallet, FILLED).when(CreditWallet(wallet="w", transfer_id="t", pence=21, after="account-a@2")).refused(WalletFull)
    full = given(Wallet, FILLED, WalletCredited(wallet="w", transfer_id="t", pence=20, after="account-a@2"))
    full.when(RefundWallet(wallet="w", transfer_id="u", pence=9)).then(WalletRefunded(wallet="w", transfer_id="u", pence=9))


def test_a_transfer_is_requested_once_and_ends_once() -> None:
    wish = RequestTransfer(transfer_id="t", source=ACCOUNT, target=WALLET, pence=60)
    given(Transfer).when(wish).then(REQUESTED)
    given(Transfer, REQUESTED).when(wish).refused(TransferAlreadyRequested)
    given(Transfer).when(wish.model_copy(update={"target": ACCOUNT})).refused(SameHolder)
    backwards = wish.model_copy(update={"source": WALLET, "target": ACCOUNT, "closes_source": True})
    given(Transfer).when(backwards).refused(OnlyAccountsClose)
    done = given(Transfer, REQUESTED, TransferCompleted(transfer_id="t"))
    done.when(CompleteTransfer(transfer_id="t")).refused(TransferNotOpen)
    done.when(RejectTransfer(transfer_id="t", reason="late")).refused(TransferNotOpen)
