"""The judge of the bank test finds what is planted, and cuts both logs so that no credit stands without its debit (G4, E)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from aggregates.account import CreditAccount, DebitAccount, OpenAccount, RefundAccount
from aggregates.wallet import CreditWallet, OpenWallet
from sagakit.log import read_to_head
from sagakit.messages import Command, RecordedEvent
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System
from worker.bank.audit import Audit, Sample, samples_of
from worker.bank.plan import make_plan
from worker.services import BANK

DEBIT = DebitAccount(account="a", transfer_id="t", pence=40)
CREDIT = CreditWallet(wallet="w", transfer_id="t", pence=40, after="account-a@2")
BOOKS = (OpenAccount(account="a", pence=100), OpenWallet(wallet="w", pence=0, limit=1000))


async def _logs(folder: Path, *commands: Command) -> Mapping[str, list[RecordedEvent]]:
    """Send commands to the real services, each under a key of its own; return the logs of both."""
    async with System(load_settings(data=folder, database="sqlite"), ServiceMap(BANK)) as system:
        for number, command in enumerate((*BOOKS, *commands)):
            assert (await system.send(command, Context(key=str(number)))).status == "done"
        return {log: [event async for event in read_to_head((await system.open(log)).store)] for log in ("accounts", "wallets")}


def _judged(logs: Mapping[str, list[RecordedEvent]], audit: Audit | None = None) -> tuple[Sample, Audit]:
    audit = audit or Audit()
    for log, events in logs.items():
        audit.take(log, events)
    return audit.sample(), audit


async def test_a_transfer_that_goes_well_is_square_at_every_cut(tmp_path: Path) -> None:
    logs = await _logs(tmp_path, DEBIT, CREDIT)
    sample, audit = _judged(logs)
    assert (sample.balances, sample.in_transit, sample.brought_in, sample.held_back) == (100, 0, 100, 0)
    assert audit.fates == {"t": "credited"}
    assert audit.faults == []
    _, on_its_way = _judged({"accounts": logs["accounts"], "wallets": logs["wallets"][:1]})
    assert on_its_way.sample().in_transit == 40


@pytest.mark.parametrize(
    ("planted", "total"),
    [
        ((DEBIT, CREDIT, CREDIT), 140),
        ((DEBIT, CREDIT, RefundAccount(account="a", transfer_id="t", pence=40)), 140),
        ((DEBIT, CreditWallet(wallet="w", transfer_id="t", pence=41, after="account-a@2")), 101),
        ((CreditAccount(account="a", transfer_id="t", pence=40, after=""),), 140),
        ((DEBIT, DEBIT), 60),
    ],
    ids=["credited twice", "credited and refunded", "a penny more arrives", "money from nowhere", "debited twice"],
)
async def test_a_planted_defect_is_found(tmp_path: Path, planted: tuple[Command, ...], total: int) -> None:
    sample, audit = _judged(await _logs(tmp_path, *planted))
    if len(planted) == 2 and planted[0] == planted[1]:
        assert audit.faults == ["transfer t is on its way by account-a@3, and was on its way already"]
    assert not sample.is_square
    assert sample.balances + sample.in_transit == total


async def test_the_cut_waits_for_the_debit_that_a_credit_follows(tmp_path: Path) -> None:
    logs = await _logs(tmp_path, DEBIT, CREDIT)
    ahead = {"accounts": logs["accounts"][:1], "wallets": logs["wallets"]}
    sample, audit = _judged(ahead)
    assert sample.is_square
    assert (sample.held_back, sample.balances) == (1, 100)
    audit.take("accounts", logs["accounts"][1:])
    assert (audit.sample().held_back, audit.sample().balances) == (0, 100)


class Careless(Audit):
    """Takes all that was read for a cut, as if two heads read one after the other were one moment."""

    def may_follow(self, data: Mapping[str, Any]) -> bool:
        return True


async def test_a_cut_that_is_not_consistent_is_found_out(tmp_path: Path) -> None:
    logs = await _logs(tmp_path, DEBIT, CREDIT)
    sample, _ = _judged({"accounts": logs["accounts"][:1], "wallets": logs["wallets"]}, Careless())
    assert not sample.is_square, "40 pence were counted twice"


def _event(log: str, position: int, stream: str, version: int, what: str, **data: Any) -> RecordedEvent:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return RecordedEvent(
        log, position, stream, version, UUID(int=position), f"{stream[:6]}.{what}", 1, json.dumps(data), "{}", now
    )


def _busy_bank(transfers: int, chance: Random) -> dict[str, list[RecordedEvent]]:
    """Both logs of a bank with many transfers both ways, positions with holes, each credit some time behind its debit."""
    logs: dict[str, list[RecordedEvent]] = {"accounts": [], "wallets": []}
    versions: dict[str, int] = {}

    def record(log: str, holder: str, what: str, **data: Any) -> str:
        versions[holder] = versions.get(holder, 0) + 1
        last = logs[log][-1].position if logs[log] else 0
        logs[log].append(_event(log, last + chance.randint(1, 3), holder, versions[holder], what, **data))
        return f"{holder}@{versions[holder]}"

    holders = [("accounts", f"account-{i}") for i in range(5)] + [("wallets", f"wallet-{i}") for i in range(5)]
    for log, holder in holders:
        record(log, holder, "opened", pence=10**6)
    on_their_way: list[tuple[str, str]] = []
    for number in range(transfers):
        after = record(*chance.choice(holders), "debited", transfer_id=str(number), pence=7)
        on_their_way.append((str(number), after))
        while on_their_way and chance.random() < 0.5:
            transfer, place = on_their_way.pop(chance.randrange(len(on_their_way)))
            record(*chance.choice(holders), "credited", transfer_id=transfer, pence=7, after=place)
    return logs


@pytest.mark.parametrize("seed", range(5))
def test_every_random_cut_is_square_once_it_is_consistent_and_many_are_not_before(seed: int) -> None:
    logs = _busy_bank(500, Random(seed))
    samples, audit = samples_of(logs, Random(seed), 200)
    assert len(samples) >= 200
    assert all(sample.is_square for sample in samples)
    assert not audit.faults
    assert sum(sample.held_back > 0 for sample in samples) > 20
    assert sum(sample.in_transit > 0 for sample in samples) > 100


def test_the_same_seed_plans_the_same_transfers() -> None:
    first, second = (make_plan("r", 20, 200, Random(4)) for _ in range(2))
    assert first == second
    doomed = [wish for wish in first.transfers if wish.closes_source]
    assert (len(first.transfers), len(first.holders), len(doomed)) == (200, 20 + 3 + 1, 3)
    assert len(make_plan("r", 2, 1, Random(4)).holders) == 2
