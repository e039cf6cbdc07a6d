"""A payment provider that is only played: asked by events of the payments service, it answers by a command, slowly if wanted."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from aggregates.payment import (
    AnswerPayment,
    PaymentCaptured,
    PaymentGivenUp,
    PaymentRefunded,
    PaymentRequested,
    PaymentVoided,
)  # fmt: skip
from sagakit.errors import InfrastructureError
from sagakit.messages import RecordedEvent
from sagakit.repository import Context
from sagakit.system import System
from sagakit.telemetry import child_span
from worker.provider.ledger import Act, Asked, Entry, Ledger

_log = structlog.get_logger("worker.provider")
SERVICE = "payments"
_PAGE = 200
_POLL_SECONDS = 0.1
_ACTS: dict[str, Act] = {
    PaymentRequested.event_name: "authorise",
    PaymentGivenUp.event_name: "void",
    PaymentVoided.event_name: "void",
    PaymentCaptured.event_name: "capture",
    PaymentRefunded.event_name: "refund",
}


@dataclass
class Provider:
    """Follows the log of the payments service.

    Delivery: a request is an event, and known by the key of the command that led to it, saga and step in one. It takes effect
    once, however often the provider was killed, and is in the ledger before it is answered. An answer is given again until
    it was taken; the payment takes it once.
    Ordering: as in the log, so that a payment is let go after it was held. With ``is_naive`` it forgets what it did when it
    is started again, and does it all once more: what a ledger is there to show.
    """

    system: System
    ledger: Ledger
    slowness: timedelta = timedelta(0)
    is_naive: bool = False
    _owed: dict[str, Entry] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Act and answer until told to stop; a database that is away is waited for."""
        store = (await self.system.open(SERVICE)).store
        if not self.is_naive:
            # An answer that was given before is taken as a repeat: its key is the request's.
            self._owed = {entry.request: entry for entry in self.ledger.entries if entry.act == "authorise"}
        after = 0  # all is asked again at each start; the ledger knows what was done
        reader = store.reader(after)
        while not stop.is_set():
            try:
                page = await reader.read(_PAGE)
                for event in page:
                    after = self._act_on(event)
                await self._answer()
            except InfrastructureError as error:
                _log.warning("the payments service is away", error=str(error))
                reader, page = store.reader(after), []
            if len(page) < _PAGE:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL_SECONDS)

    def _act_on(self, event: RecordedEvent) -> int:
        act, request = _ACTS.get(event.type), event.metadata.command_key or str(event.id)
        if act is None or (not self.is_naive and request in self.ledger.by_request):
            return event.position
        data: dict[str, Any] = json.loads(event.data)
        payment = data.get("of_payment") or data["payment_id"]
        if act != "authorise" and payment not in self.ledger.authorised:
            return event.position  # no money of this provider: it held nothing, or the payments service authorised it itself
        amount, limit = Decimal(data["amount"]), data.get("limit")
        is_granted = limit is None or amount <= Decimal(limit)
        entry = Entry(
            request=request,
            act=act,
            payment=payment,
            amount=amount,
            is_granted=is_granted,
            reason="" if is_granted else f"payment declined: {amount} is over the limit of {limit}",
            at=datetime.now(UTC),
            asked=Asked(
                event=str(event.id),
                correlation_id=event.metadata.correlation_id,
                traceparent=event.metadata.traceparent,
                hops=event.metadata.hops,
            ),
        )
        self.ledger.write(entry)
        if act == "authorise":
            self._owed[request] = entry
        return event.position

    async def _answer(self) -> None:
        """Give the answers that are due."""
        now = datetime.now(UTC)
        for request, entry in list(self._owed.items()):
            if entry.at + self.slowness > now:
                continue
            asked = entry.asked
            context = Context(asked.correlation_id, asked.event, "payment provider", f"provider/{request}", asked.hops + 1)
            answer = AnswerPayment(payment_id=entry.payment, is_authorised=entry.is_granted, reason=entry.reason)
            with child_span("payment provider", asked.traceparent):  # its answer belongs to the trace that asked
                await self.system.send(answer, context)
            del self._owed[request]
