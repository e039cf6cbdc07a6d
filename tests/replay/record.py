"""Records histories of the demo's sagas, for every release after this one to replay: `make record-histories`.

A history that is recorded stays as it is; new ways of a saga are recorded under new names, old ones are never recorded again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from sagakit import Event, Saga
from sagakit.testing import Fault, rehearsing
from worker.rehearsals import ORDER, RETURN, TRANSFER
from worker.services import BANK, SERVICES
from workflows.money_transfer import MoneyTransfer
from workflows.order_fulfilment import OrderFulfilment
from workflows.order_return import TakeReturn

HISTORIES = Path(__file__).parent / "histories"
WAYS: dict[str, tuple[type[Saga], Event, dict[int, Fault]]] = {
    "order-fulfilment": (OrderFulfilment, ORDER, {}),
    "order-fulfilment.no-stock": (OrderFulfilment, ORDER, {1: "refused"}),
    "order-fulfilment.no-money": (OrderFulfilment, ORDER, {2: "refused"}),
    "order-fulfilment.not-shipped": (OrderFulfilment, ORDER, {3: "refused"}),
    "order-fulfilment.cancelled": (OrderFulfilment, ORDER, {2: "cancelled"}),
    "order-fulfilment.undo-parked": (OrderFulfilment, ORDER, {1: "undo refused", 3: "refused"}),
    "order-fulfilment.capture-parked": (OrderFulfilment, ORDER, {4: "refused"}),
    "money-transfer": (MoneyTransfer, TRANSFER, {}),
    "money-transfer.no-money": (MoneyTransfer, TRANSFER, {1: "refused"}),
    "money-transfer.not-taken": (MoneyTransfer, TRANSFER, {2: "refused"}),
    "money-transfer.refund-parked": (MoneyTransfer, TRANSFER, {1: "undo refused", 2: "refused"}),
    "order-return": (TakeReturn, RETURN, {}),
    "order-return.refund-parked": (TakeReturn, RETURN, {2: "refused"}),
}


async def record() -> None:
    """Record the ways that are not recorded yet."""
    HISTORIES.mkdir(exist_ok=True)
    missing = {name: way for name, way in WAYS.items() if not (HISTORIES / f"{name}.json").exists()}
    if not missing:
        return
    async with rehearsing((*SERVICES, *BANK)) as stage:
        for name, (saga, event, faults) in missing.items():
            played = await stage.play(saga, event, faults=faults)
            history = await stage.client.get_workflow_handle(played.workflow_id).fetch_history()
            (HISTORIES / f"{name}.json").write_text(json.dumps(_shortened(json.loads(history.to_json())), separators=(",", ":")))


def _shortened(history: Any) -> Any:
    """Leave out stack traces: they name folders of the machine, and no replay reads them."""
    if isinstance(history, dict):
        return {key: _shortened(value) for key, value in history.items() if key not in ("stackTrace", "identity")}
    return [_shortened(value) for value in history] if isinstance(history, list) else history


if __name__ == "__main__":
    asyncio.run(record())
    sys.stdout.flush()
    os._exit(0)  # a thread of Temporal's client may still be about to call Python, and would end this with SIGABRT
