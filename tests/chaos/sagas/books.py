"""What has to hold of the services besides their sagas, by the list of services: stock, money, charges."""

from __future__ import annotations

import time
from collections import Counter
from random import Random

from sagakit.log import read_to_head
from sagakit.system import System
from worker import invariants
from worker.bank.audit import LOGS, samples_of

_SAMPLES = 200
_READ_MODELS_SECONDS = 30.0


async def broken(services: str, system: System) -> list[str]:
    """Name what does not hold; a list of services that nothing more is known of has nothing to break."""
    return await _BOOKS[services](system) if services in _BOOKS else []


async def _orders(system: System) -> list[str]:
    """Stock, money, and read models that agree with the events once they have caught up."""
    deadline = time.monotonic() + _READ_MODELS_SECONDS
    while True:
        held = await invariants.check(system, await invariants.all_facts(system))
        wrong = [name for name, holds in held.items() if not holds]
        if not wrong or wrong != ["read_models"] or time.monotonic() > deadline:
            return wrong


async def _bank(system: System) -> list[str]:
    """No penny made or lost, at hundreds of cuts, and none on its way at the end."""
    logs = {log: [event async for event in read_to_head((await system.open(log)).store)] for log in LOGS}
    samples, audit = samples_of(logs, Random(1), _SAMPLES)
    wrong = [f"money at the cut {sample.cut}" for sample in samples if not sample.is_square]
    return [*wrong, *audit.faults, *(f"{pence} pence of {transfer} on the way" for transfer, pence in audit.on_the_way.items())]


async def _renewals(system: System) -> list[str]:
    """A month is charged once, and renewed when it is charged and then only."""
    seen: dict[str, Counter[tuple[str, int]]] = {"card.charged": Counter(), "subscription.renewed": Counter()}
    for name in ("cards", "subscriptions"):
        async for event in read_to_head((await system.open(name)).store):
            if event.type in seen:
                fields = system.services.registry.decode_all(event)[0]
                seen[event.type][fields.subscription, fields.month] += 1  # type: ignore[attr-defined]
    charged, renewed = seen.values()
    twice = [f"{what} twice" for months in (charged, renewed) for what, count in months.items() if count > 1]
    return twice + [f"{month} was charged or renewed, not both" for month in charged.keys() ^ renewed.keys()]


_BOOKS = {"SERVICES": _orders, "BANK": _bank, "RENEWALS": _renewals}
