"""What comes out of one queue: handled in the order of delivery, as many at once as are there."""

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
    """Consumes one queue, one batch at a time. An event is acknowledged once its effect is committed; what is not comes again."""

    def __init__(self, queue: str, handle: Handle) -> None:
        """Name the queue and say who handles its events."""
        self._name, self._handle = queue, handle
        self._waiting: list[tuple[AbstractIncomingMessage, RecordedEvent]] = []
        self._arrived = asyncio.Event()
        self._is_stopping = False

    async def start(self, connection: AbstractRobustConnection, prefetch: int) -> None:
        """Begin to consume, at most ``prefetch`` events in hand."""
        self._channel: AbstractRobustChannel = await connection.channel()
        await self._channel.set_qos(prefetch_count=prefetch)
        self._queue: AbstractRobustQueue = await self._channel.get_queue(self._name, ensure=False)  # type: ignore[assignment]
        self._tag = await self._queue.consume(self._on_message)
        self._task = asyncio.create_task(self._work(), name=f"intake {self._name}")

    async def stop(self) -> None:
        """Take nothing new, finish the batch in hand."""
        self._is_stopping = True
        self._arrived.set()
        await self._quietly(self._queue.cancel(self._tag))
        await asyncio.gather(self._task, return_exceptions=True)
        await self._quietly(self._channel.close())

    async def _quietly(self, ending: object) -> None:
        try:
            await asyncio.wait_for(ending, 2)  # type: ignore[arg-type]
        except _LINK_ERRORS as error:
            _log.info("the link ended before it was closed", queue=self._name, error=repr(error))

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            event = from_message(message)
        except InvalidInput as error:
            _log.error("refused a message", queue=self._name, reason=str(error))
            await message.reject(requeue=False)
            return
        self._waiting.append((message, event))
        self._arrived.set()

    async def _work(self) -> None:
        while not self._is_stopping:  # what is then left is unacknowledged: the broker gives it to the next consumer
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                await self._handle_until_done(batch)

    async def _handle_until_done(self, batch: list[tuple[AbstractIncomingMessage, RecordedEvent]]) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_stopping:
            try:
                await self._handle([event for _, event in batch])
            except (InfrastructureError, *_LINK_ERRORS) as error:
                # Tried again here: given back to the broker, it would come behind later events of its stream.
                _log.info("not handled, tried again", queue=self._name, error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                await self._acknowledge(batch[-1][0])
                return

    async def _acknowledge(self, last: AbstractIncomingMessage) -> None:
        try:
            await last.ack(multiple=True)
        except _LINK_ERRORS as error:
            _log.info("not acknowledged, it comes again", queue=self._name, error=repr(error))
