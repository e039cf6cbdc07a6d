"""What the bank test does: who has how much, and who sends what to whom. The same seed, the same plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from aggregates.account import OpenAccount
from aggregates.transfer import Holder, RequestTransfer
from aggregates.wallet import OpenWallet

_PARKED_AT_MOST = 3
_TRANSFERS_PER_PARKED = 50
_WALLET_LIMIT = 40_000
_MOST_PENCE = 12_000
_TO_NOBODY = 0.02


@dataclass(frozen=True)
class Plan:
    """Ids begin with the run's name, so that one data folder can hold many runs."""

    holders: tuple[OpenAccount | OpenWallet, ...]
    transfers: tuple[RequestTransfer, ...]


def make_plan(run: str, accounts: int, transfers: int, chance: Random) -> Plan:
    """Plan transfers between accounts and wallets, half of each.

    Some find too little money, a full wallet, or no account at all. A few close their account behind them and cannot arrive:
    their money cannot go back, so they are parked. Each of these has an account of its own, beside the ``accounts``.
    """
    ids = {
        "account": [f"{run}-{number}" for number in range(1, accounts - accounts // 2 + 1)],
        "wallet": [f"{run}-{number}" for number in range(1, accounts // 2 + 1)],
    }
    parked = min(_PARKED_AT_MOST, transfers // _TRANSFERS_PER_PARKED)
    closing, full = [f"{run}-closing-{number}" for number in range(1, parked + 1)], f"{run}-full"
    holders: list[OpenAccount | OpenWallet] = [
        OpenAccount(account=i, pence=chance.randint(5_000, 50_000)) for i in ids["account"]
    ]
    holders += [OpenWallet(wallet=i, pence=chance.randint(0, 30_000), limit=_WALLET_LIMIT) for i in ids["wallet"]]
    holders += [OpenAccount(account=i, pence=5_000) for i in closing]
    holders += [OpenWallet(wallet=full, pence=1, limit=1)] * bool(closing)
    doomed = dict(zip(chance.sample(range(transfers), parked), closing, strict=True))
    return Plan(tuple(holders), tuple(_transfers(run, transfers, ids, doomed, full, chance)))


def _transfers(
    run: str, count: int, ids: dict[str, list[str]], doomed: dict[int, str], full: str, chance: Random
) -> Iterator[RequestTransfer]:
    for number in range(count):
        name = f"{run}-{number + 1:06}"
        if number in doomed:
            source, target = Holder(kind="account", id=doomed[number]), Holder(kind="wallet", id=full)
            yield RequestTransfer(transfer_id=name, source=source, target=target, pence=5_000, closes_source=True)
            continue
        account, wallet = (Holder(kind=kind, id=chance.choice(ids[kind])) for kind in ("account", "wallet"))
        pence = chance.randint(1, _MOST_PENCE)
        if chance.random() < _TO_NOBODY:
            nobody = Holder(kind="account", id=f"{run}-nobody")
            yield RequestTransfer(transfer_id=name, source=wallet, target=nobody, pence=pence)
        elif chance.random() < 1 / 2:
            yield RequestTransfer(transfer_id=name, source=account, target=wallet, pence=pence)
        else:
            yield RequestTransfer(transfer_id=name, source=wallet, target=account, pence=pence)
