"""A payment provider in a process of its own, killed with the worker while it thinks: its ledger shows no double effect (G1, G4)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from aggregates.order import OrderLine, PlaceOrder
from aggregates.stock import SeedStock
from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import load_settings
from sagakit.system import System as Databases
from tests.acceptance.worker import ROOT, System
from tests.support.processes import end, end_with_parent, wait_until
from worker import invariants
from worker.provider.judge import faults_of, held_of
from worker.provider.ledger import Entry, read
from worker.rehearsals import NOON
from worker.services import SERVICES

ORDERS = 12
DECLINED = 3
SLOW_SECONDS = 20


def _provider(system: System, *args: str) -> subprocess.Popen[bytes]:
    with (system.folder / "provider.log").open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "provider", *args],
            env=system.env, cwd=ROOT, stdout=output, stderr=output, preexec_fn=end_with_parent,
        )  # fmt: skip
    log = system.folder / "provider.log"
    wait_until(lambda: process.poll() is not None or b"Running" in log.read_bytes()[begin:], 60, "the provider")
    assert process.poll() is None, log.read_text()[begin:]
    return process


def _ledger(system: System) -> list[Entry]:
    return list(read(system.folder / "payment-provider.ledger"))


async def _place(system: System) -> None:
    async with Databases(load_settings(data=system.folder), ServiceMap(SERVICES)) as databases:
        await databases.send(SeedStock(product="p", quantity=100), Context())
        for number in range(ORDERS):
            line = OrderLine(product="p", quantity=1 + number // (ORDERS - DECLINED), unit_price=Decimal(10))
            order = PlaceOrder(
                order_id=f"{number}", country="UK", placed_at=NOON, lines=(line,),
                payment_limit=Decimal(15), is_paid_by_provider=True,
            )  # fmt: skip
            await databases.send(order, Context())


def _answers(system: System) -> list[datetime]:
    """Tell when each answer of the provider was recorded."""
    events = system.json("events", "--service", "payments")
    return [datetime.fromisoformat(e["recorded_at"]) for e in events if e["type"] == "payment.answered"]


def _ended(system: System) -> Counter[str]:
    found = Counter(row["status"] for row in system.json("query", "order_summary"))
    return found if found.total() == ORDERS and not found["open"] else Counter()


@pytest.mark.timeout(180)
def test_no_kill_makes_a_payment_take_effect_twice_g1_g4(embedded: System) -> None:
    worker = embedded.start()
    provider = _provider(embedded, "--slow", f"{SLOW_SECONDS}")
    try:
        asyncio.run(_place(embedded))
        wait_until(lambda: len(_ledger(embedded)) >= ORDERS // 2, 60, "the provider to be asked")
        end(provider, signal.SIGKILL)
        asked = len(_ledger(embedded))
        assert _answers(embedded) == [], "it is in the ledger what was asked, and nothing is answered: killed between the two"
        end(worker, signal.SIGKILL)
        worker = embedded.start()
        provider = _provider(embedded, "--slow", f"{SLOW_SECONDS}")
        wait_until(lambda: sum(entry.act == "capture" for entry in _ledger(embedded)) >= 1, 60, "a capture")
        end(provider, signal.SIGKILL)
        provider = _provider(embedded)
        wait_until(lambda: _ended(embedded), 90, "every order to end")
        wait_until(lambda: not held_of(_ledger(embedded)), 30, "every held amount to be taken")
        assert end(provider) == 0, "the provider judges its own ledger"
        ledger = _ledger(embedded)
        print(f"{asked} asked before the first kill; {Counter((entry.act, entry.is_granted) for entry in ledger)}")
        assert faults_of(ledger) == []
        keys = [entry.request for entry in ledger]
        assert len(keys) == len(set(keys)), "one charge for each saga and step"
        assert {key.rpartition("/")[0] for key in keys} >= {f"order-fulfilment/{number}/2" for number in range(ORDERS)}
        first = min(_answers(embedded))
        assert first - min(entry.at for entry in ledger) >= timedelta(seconds=SLOW_SECONDS)
        assert len(_answers(embedded)) == ORDERS, "one answer each, however often it was given"
        assert _ended(embedded) == {"completed": ORDERS - DECLINED, "cancelled": DECLINED}
        assert Counter((entry.act, entry.is_granted) for entry in ledger) == {
            ("authorise", True): ORDERS - DECLINED, ("authorise", False): DECLINED, ("capture", True): ORDERS - DECLINED,
        }  # fmt: skip
        wait_until(
            lambda: asyncio.run(_books(embedded)) == {"stock", "money", "returns", "read_models"}, 30, "the books to agree"
        )

        provider = _provider(embedded, "--naive")  # what the ledger is there to show
        wait_until(lambda: len(_ledger(embedded)) >= len(ledger) + ORDERS, 30, "it to do all again")
        assert end(provider) == 1
        assert len(faults_of(_ledger(embedded))) >= ORDERS
    finally:
        end(provider, signal.SIGKILL)
        end(worker)


async def _books(system: System) -> set[str]:
    async with Databases(load_settings(data=system.folder), ServiceMap(SERVICES)) as databases:
        found = await invariants.check(databases, await invariants.all_facts(databases))
    return {name for name, holds in found.items() if holds}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--slow", "-1"), "'--slow'"),
        (("--ledger", "/"), "the ledger / cannot be written"),
        (("--ledger", str(Path(__file__))), "line 1 is no entry of a ledger"),
    ],
)
def test_what_is_no_provider_is_refused_in_a_sentence(embedded: System, args: tuple[str, ...], told: str) -> None:
    done = embedded.run("provider", *args, code=None)
    assert done.returncode != 0
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
