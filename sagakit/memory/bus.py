"""The bus inside one process, with the same contract as the broker: at least once, in order per stream.

It stores nothing: a message counts as handed over only when every consumer's effect is committed, so a kill at any moment
leaves it in the log, to be published again. Every consumer must therefore live in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sagakit.errors import BusUnavailable
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Subscription


class MemoryBus:
    """Implements the port `Bus`."""

    def __init__(self) -> None:
        """Begin with no subscription."""
        self._subscriptions: set[Subscription] = set()
        self._handlers: dict[str, Handle] = {}
        self._in_hand: dict[str, set[asyncio.Task[None]]] = {}

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """See the port."""
        self._subscriptions.update(subscriptions)

    async def publish(self, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """See the port. Streams go side by side; inside a stream, a failure holds the later events back."""
        answers: dict[int, Exception | None] = {}

        async def in_order(members: list[RecordedEvent]) -> None:
            failed: Exception | None = None
            for event in members:
                if failed is None:
                    failed = await self._deliver(event)
                answers[event.position] = failed

        streams: dict[str, list[RecordedEvent]] = {}
        for event in events:
            streams.setdefault(event.stream, []).append(event)
        await asyncio.gather(*(in_order(members) for members in streams.values()))
        return [answers[event.position] for event in events]

    async def _deliver(self, event: RecordedEvent) -> Exception | None:
        for subscription in self._subscriptions:
            if subscription.producer != event.service or event.type not in subscription.event_types:
                continue
            handle = self._handlers.get(subscription.consumer)
            if handle is None:
                return BusUnavailable(f"no consumer {subscription.consumer} runs in this process; its events wait in the log")
            task = asyncio.ensure_future(_as_task(handle, event))
            in_hand = self._in_hand.setdefault(subscription.consumer, set())
            in_hand.add(task)
            task.add_done_callback(in_hand.discard)
            try:
                await task
            except Exception as error:  # noqa: BLE001 whatever it was, the event is not handled: the relay sends it again
                return error
        return None

    async def consume(self, consumer: str, handle: Handle) -> Callable[[], Awaitable[None]]:
        """See the port."""
        self._handlers[consumer] = handle

        async def stop() -> None:
            self._handlers.pop(consumer, None)
            await asyncio.gather(*self._in_hand.get(consumer, ()), return_exceptions=True)

        return stop

    async def close(self) -> None:
        """See the port."""


async def _as_task(handle: Handle, event: RecordedEvent) -> None:
    await handle(event)
