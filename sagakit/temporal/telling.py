"""Tells a rehearsed saga of events: as it begins, or so long after, by its own clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper

from sagakit.messages import Event
from sagakit.steps import Arrived, SagaResult

Handle = WorkflowHandle[Any, SagaResult]


@dataclass(frozen=True)
class Later:
    """An event that a saga is told of so long after it began, by its own clock, of which what is between is skipped."""

    after: timedelta
    event: Event


class Telling:
    """What one saga is told of: ``soon`` by its conductor, the rest `Later`."""

    def __init__(self, skipper: TimeSkipper, patient: Client, told: Sequence[Event | Later]) -> None:
        """Take what skips time, and a client whose workflows skip none until they are told to."""
        self._skipper, self._patient = skipper, patient
        self.soon = [one for one in told if isinstance(one, Event)]
        self._later = sorted((one for one in told if isinstance(one, Later)), key=lambda one: one.after)

    @property
    def client(self) -> Client:
        """What to start the saga with: where events come later, no time may be skipped before this says so."""
        return self._patient if self._later else self._skipper.client

    @asynccontextmanager
    async def going_on(self, handle: Handle) -> AsyncIterator[None]:
        """Beside the block, tell the saga of what comes later."""
        telling = asyncio.create_task(self._tell(handle))
        try:
            yield
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    async def _tell(self, handle: Handle) -> None:
        if not self._later:
            return
        now = timedelta()
        try:
            for number, one in enumerate(self._later):
                await self._skipper.fast_forward(handle, one.after - now)
                now = one.after
                await handle.signal("sagakit_event", arrived(one.event, number, "later"))
            await self._skipper.fast_forward(handle, None)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # It has ended before: nobody is there to be told.


def arrived(event: Event, number: int, how: str) -> Arrived:
    """Make what a rehearsed saga is told of, known by its number among what it is told so."""
    return Arrived(
        id=f"{how}-{number}",
        type=event.event_name,
        schema_version=event.schema_version,
        stream=how,
        version=number + 1,
        data=event.model_dump_json(),
    )
