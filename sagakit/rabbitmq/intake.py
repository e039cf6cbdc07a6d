"""What comes out of one queue: events of one stream after each other, different streams side by side."""

from __future__ import annotations

import asyncio

import structlog
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustConnection, AbstractRobustQueue
from aiormq.exceptions import AMQPError

from sagakit.errors import InfrastructureError, InvalidInput
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle
from sagakit.rabbitmq.messages import from_message

_log = structlog.get_logger("sagakit.rabbitmq")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_LINK_ERRORS = (OSError, TimeoutError, RuntimeError, AMQPError)


class Intake:
    """Consumes one queue. An event is acknowledged once its effect is committed; what is not comes again."""

    def __init__(self, consumer: str, handle: Handle) -> None:
        """Name the queue and say who handles its events."""
        self._consumer, self._handle = consumer, handle
        # The last event of each stream that is in hand: the next one of that stream waits for it.
        self._tails: dict[str, asyncio.Event] = {}
        self._in_hand: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def start(self, connection: AbstractRobustConnection, prefetch: int) -> None:
        """Begin to consume, at most ``prefetch`` events in hand."""
        self._channel: AbstractRobustChannel = await connection.channel()
        await self._channel.set_qos(prefetch_count=prefetch)
        self._queue: AbstractRobustQueue = await self._channel.get_queue(self._consumer, ensure=False)  # type: ignore[assignment]
        self._tag = await self._queue.consume(self._on_message)

    async def stop(self) -> None:
        """Take nothing new, finish the events whose handling has begun."""
        self._is_stopping = True
        await self._quietly(self._queue.cancel(self._tag))
        await asyncio.gather(*self._in_hand, return_exceptions=True)
        await self._quietly(self._channel.close())

    async def _quietly(self, ending: object) -> None:
        try:
            await asyncio.wait_for(ending, 2)  # type: ignore[arg-type]
        except _LINK_ERRORS as error:
            _log.info("the link ended before it was closed", consumer=self._consumer, error=repr(error))

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            event = from_message(message)
        except InvalidInput as error:
            _log.error("refused a message", consumer=self._consumer, reason=str(error))
            await message.reject(requeue=False)
            return
        # No await up to here: tasks begin in the order of delivery, so the chain of a stream is in its order.
        before, mine = self._tails.get(event.stream), asyncio.Event()
        self._tails[event.stream] = mine
        task = asyncio.current_task()
        if task is not None:
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
        try:
            await self._in_turn(message, event, before)
        finally:
            mine.set()
            if self._tails.get(event.stream) is mine:
                del self._tails[event.stream]

    async def _in_turn(self, message: AbstractIncomingMessage, event: RecordedEvent, before: asyncio.Event | None) -> None:
        if before is not None:
            await before.wait()
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_stopping:  # else unacknowledged: the broker gives it to the next consumer
            try:
                await self._handle(event)
            except (InfrastructureError, *_LINK_ERRORS) as error:
                # Tried again here: given back to the broker, it would come behind later events of its stream.
                _log.info("not handled, tried again", event_id=str(event.id), error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                await self._acknowledge(message, event)
                return

    async def _acknowledge(self, message: AbstractIncomingMessage, event: RecordedEvent) -> None:
        try:
            await message.ack()
        except _LINK_ERRORS as error:
            _log.info("not acknowledged, it comes again", event_id=str(event.id), error=repr(error))
