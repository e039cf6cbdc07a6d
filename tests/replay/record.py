"""Records histories of the demo's sagas, for every release after this one to replay: `make record-histories`.

A history that is recorded stays as it is; new ways of a saga are recorded under new names, old ones are never recorded again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from aggregates.order import CancellationRequested
from sagakit import Event, Saga
from sagakit.testing import Fault, Later, rehearsing
from tests.support.playing_fast import playing_fast
from worker.rehearsals import ANSWERED, LONG_ORDER, ORDER, RETURN, RETURN_OF_ORDER, SLOWLY, SUBSCRIPTION, TRANSFER, TRIP
from worker.services import BANK, RENEWALS, SERVICES, TRIPS
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn
from workflows.subscription_renewal import SubscriptionRenewal
from workflows.trip_booking import TripBooking

HISTORIES = Path(__file__).parent / "histories"
DECLINED = ANSWERED.model_copy(update={"is_authorised": False, "reason": "payment declined: rehearsed"})
CALLED_OFF = CancellationRequested(order_id=LONG_ORDER.order_id, reason="rehearsed")
SOON = timedelta(seconds=20)


@dataclass(frozen=True)
class Way:
    """What a saga begins with, what goes wrong at which of its steps, and what it is told of."""

    saga: type[Saga]
    event: Event
    faults: Mapping[int, Fault] = field(default_factory=dict)
    told: tuple[Event | Later, ...] = ()


WAYS = {
    "order-fulfilment": Way(OrderFulfilment, ORDER),
    "order-fulfilment.no-stock": Way(OrderFulfilment, ORDER, {1: "refused"}),
    "order-fulfilment.no-money": Way(OrderFulfilment, ORDER, {2: "refused"}),
    "order-fulfilment.not-shipped": Way(OrderFulfilment, ORDER, {3: "refused"}),
    "order-fulfilment.cancelled": Way(OrderFulfilment, ORDER, {2: "cancelled"}),
    "order-fulfilment.undo-parked": Way(OrderFulfilment, ORDER, {1: "undo refused", 3: "refused"}),
    "order-fulfilment.capture-parked": Way(OrderFulfilment, ORDER, {4: "refused"}),
    "money-transfer": Way(MoneyTransfer, TRANSFER),
    "money-transfer.no-money": Way(MoneyTransfer, TRANSFER, {1: "refused"}),
    "money-transfer.not-taken": Way(MoneyTransfer, TRANSFER, {2: "refused"}),
    "money-transfer.refund-parked": Way(MoneyTransfer, TRANSFER, {1: "undo refused", 2: "refused"}),
    "order-return": Way(TakeReturn, RETURN),
    "order-return.refund-parked": Way(TakeReturn, RETURN, {2: "refused"}),
    "long-order": Way(OrderFulfilment, LONG_ORDER, {}, SLOWLY),
    "long-order.in-part": Way(OrderFulfilment, LONG_ORDER, {1: "refused"}, SLOWLY),
    "long-order.declined": Way(OrderFulfilment, LONG_ORDER, {}, (Later(SOON, DECLINED),)),
    "long-order.unanswered": Way(OrderFulfilment, LONG_ORDER),
    "long-order.called-off": Way(OrderFulfilment, LONG_ORDER, {}, (Later(SOON, CALLED_OFF),)),
    "long-order.unconfirmed": Way(OrderFulfilment, LONG_ORDER, {}, (Later(SOON, ANSWERED),)),
    "subscription-renewal": Way(SubscriptionRenewal, SUBSCRIPTION),
    "subscription-renewal.charge-refused": Way(SubscriptionRenewal, SUBSCRIPTION, {1: "refused"}),
    "trip-booking": Way(TripBooking, TRIP),
    "trip-booking.no-flight": Way(TripBooking, TRIP, {1: "refused"}),
    "trip-booking.no-tickets": Way(TripBooking, TRIP, {6: "refused"}),
    "trip-booking.nobody-answers": Way(TripBooking, TRIP, {3: "refused"}),
    "return-of-an-order": Way(TakeReturn, RETURN_OF_ORDER),
    "return-of-an-order.refused": Way(TakeReturn, RETURN_OF_ORDER, {1: "refused"}),
}
FAST_WAYS = {
    "order-fulfilment.fast": Way(OrderFulfilment, ORDER),
    "order-fulfilment.fast.not-shipped": Way(OrderFulfilment, ORDER, {3: "refused"}),
    "order-fulfilment.fast.answer-lost": Way(OrderFulfilment, ORDER, {2: "late"}),
    "order-fulfilment.fast.cancelled": Way(OrderFulfilment, ORDER, {2: "cancelled"}),
    "order-fulfilment.fast.capture-parked": Way(OrderFulfilment, ORDER, {4: "refused"}),
}
"""The same with fast steps: an answer that is lost, the step found done by an ordinary one; a cancellation, heard too late."""


async def record() -> None:
    """Record the ways that are not recorded yet."""
    HISTORIES.mkdir(exist_ok=True)
    async with rehearsing((*SERVICES, *BANK, *RENEWALS, *TRIPS)) as stage:
        for name, way in _missing(WAYS).items():
            played = await stage.play(way.saga, way.event, faults=way.faults, told=way.told)
            await _write(name, stage.client.get_workflow_handle(played.workflow_id))
        for name, way in _missing(FAST_WAYS).items():
            async with playing_fast(stage.client, way.saga, way.event, way.faults) as handle:
                await _write(name, handle)


def _missing(ways: Mapping[str, Way]) -> dict[str, Way]:
    return {name: way for name, way in ways.items() if not (HISTORIES / f"{name}.json").exists()}


async def _write(name: str, handle: WorkflowHandle[Any, Any]) -> None:
    history = await handle.fetch_history()
    (HISTORIES / f"{name}.json").write_text(json.dumps(shortened(json.loads(history.to_json())), separators=(",", ":")))


def shortened(history: Any) -> Any:
    """Leave out what names folders or machines, stack traces, identities and sticky queues: no replay reads them."""
    if isinstance(history, dict):
        kept = {key: shortened(value) for key, value in history.items() if key not in ("stackTrace", "identity")}
        return kept | {"name": "sticky"} if kept.get("kind") == "TASK_QUEUE_KIND_STICKY" else kept
    return [shortened(value) for value in history] if isinstance(history, list) else history


if __name__ == "__main__":
    asyncio.run(record())
    sys.stdout.flush()
    os._exit(0)  # a thread of Temporal's client may still be about to call Python, and would end this with SIGABRT
