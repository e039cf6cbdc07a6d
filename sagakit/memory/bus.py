"""The bus inside one process, with the same contract as the broker: at least once, in order per stream.

It stores nothing: a message counts as handed over only when every consumer's effect is committed, so a kill at any moment
leaves it in the log, to be published again. Every consumer must therefore live in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from sagakit.errors import BusUnavailable, InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Refuse, Retired, Subscription


class MemoryBus:
    """Implements the port `Bus`."""

    def __init__(self) -> None:
        """Begin with no consumer."""
        self._handlers: dict[str, Handle] = {}
        self._in_hand: dict[str, set[asyncio.Task[None]]] = {}

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """See the port."""

    async def publish(self, subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """See the port. The events are handled here and now, all or none of them."""
        handle = self._handlers.get(subscription.consumer)
        if handle is None:
            away = BusUnavailable(f"no consumer {subscription.consumer} runs in this process; its events wait in the log")
            return [away for _ in events]
        task = asyncio.ensure_future(_as_task(handle, events))
        in_hand = self._in_hand.setdefault(subscription.consumer, set())
        in_hand.add(task)
        task.add_done_callback(in_hand.discard)
        try:
            await task
        except Exception as error:  # noqa: BLE001 whatever it was, the events are not handled: the relay sends them again
            return [error for _ in events]
        return [None for _ in events]

    async def backlog(self, _subscription: Subscription) -> int:
        """See the port. Nothing waits here: what is not handled is not taken."""
        return 0

    async def retire(self, _subscription: Subscription, _former_partitions: int) -> bool:
        """See the port. There are no queues."""
        return True

    async def consume(
        self,
        subscription: Subscription,
        handle: Handle,
        _refuse: Refuse | None = None,
        retired: Retired | None = None,
        producers: frozenset[str] = frozenset(),  # noqa: ARG002 there are no queues to be emptied
    ) -> Callable[[], Awaitable[None]]:
        """See the port."""
        if retired is not None:
            await retired()
            return _nothing
        consumer = subscription.consumer
        self._handlers[consumer] = handle

        async def stop() -> None:
            self._handlers.pop(consumer, None)
            await asyncio.gather(*self._in_hand.get(consumer, ()), return_exceptions=True)

        return stop

    async def bind_foreign(self, subscription: Subscription) -> None:
        """See the port."""
        raise InvalidInput(
            f"{subscription.consumer} consumes events of {subscription.producer}, a foreign service, and the in-process bus "
            "serves one process: set SAGAKIT_BUS to an AMQP URL"
        )

    async def close(self) -> None:
        """See the port."""


async def _as_task(handle: Handle, events: Sequence[RecordedEvent]) -> None:
    await handle(events)


async def _nothing() -> None:
    """Stop what was never started."""
