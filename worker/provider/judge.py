"""Judges a ledger: what took effect twice, or should never have taken effect. Knows nothing of sagas, only what money does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from worker.provider.ledger import Act, Entry


def faults_of(entries: Iterable[Entry]) -> list[str]:
    """Name each fault of a ledger, in a sentence; none for one that is right. A refused act has no effect, and is none."""
    faults: list[str] = []
    of_payment: dict[str, dict[Act, list[Decimal]]] = defaultdict(lambda: defaultdict(list))
    requests: set[str] = set()
    for entry in entries:
        who, done = f"payment {entry.payment}", of_payment[entry.payment]
        if entry.request in requests:
            faults.append(f"{who}: request {entry.request} ({entry.act}) took place twice")
        requests.add(entry.request)
        if not entry.is_granted:
            continue
        if done[entry.act] and entry.act != "refund":
            faults.append(f"{who}: a second {entry.act}")
        if entry.act in ("void", "capture") and entry.amount not in done["authorise"]:
            faults.append(f"{who}: a {entry.act} of {entry.amount} that was not authorised")
        if entry.act == "capture" and done["void"]:
            faults.append(f"{who}: a capture after the void")
        if entry.act == "void" and done["capture"]:
            faults.append(f"{who}: a void after the capture")
        done[entry.act].append(entry.amount)
        if entry.act == "refund" and sum(done["refund"]) > sum(done["capture"]):
            faults.append(f"{who}: more refunded than captured")
    return faults


def held_of(entries: Iterable[Entry]) -> dict[str, Decimal]:
    """Add up what the provider still holds: authorised, and neither captured nor voided. Nothing once all has ended."""
    held: dict[str, Decimal] = {}
    for entry in entries:
        if entry.is_granted and entry.act == "authorise":
            held[entry.payment] = entry.amount
        elif entry.is_granted:
            held.pop(entry.payment, None)
    return held
