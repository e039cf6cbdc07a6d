"""What comes out of one queue: handled in the order of delivery, as many at once as are there, for as long as it is wanted.

It looks after itself: after a channel that ended, a lost connection, a consumer that the broker cancelled, a queue that was
deleted and declared again, there is another session with a channel of its own (failures B8, C2).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog
from aiormq.exceptions import ChannelNotFoundEntity

from sagakit import crash_points
from sagakit.cancelling import is_cancelled
from sagakit.messages import RecordedEvent
from sagakit.ports import Handle, Refuse
from sagakit.rabbitmq.declaring import delete_queue
from sagakit.rabbitmq.driver_errors import LINK_ERRORS
from sagakit.rabbitmq.link import Link, close_channel
from sagakit.rabbitmq.refused import RefusedMessage
from sagakit.rabbitmq.session import Arrived, Marker, Session

_log = structlog.get_logger("sagakit.rabbitmq")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_LONGEST_ABSENCE_SECONDS = 1.0


class Intake:
    """Consumes one queue, one batch at a time. An event is acknowledged once its effect is committed; what is not comes again."""

    def __init__(
        self,
        queue: str,
        link: Link,
        prefetch: int,
        handle: Handle,
        refuse: Refuse | None,
        producers: frozenset[str],
        *,
        is_former: bool,
    ) -> None:
        """Name the queue, who takes what comes, and who sends; ``is_former`` says that it is done with once the queue is gone."""
        self.queue, self._link, self._prefetch = queue, link, prefetch
        self._handle, self._refuse, self._is_former = handle, refuse, is_former
        self._producers, self._marked = producers, set[str]()
        self._stopping = asyncio.Event()
        self._is_gone = False
        self._session: Session | None = None
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to consume. Raises one of `LINK_ERRORS` when that cannot be now."""
        try:
            self._session = await self._begin()
        except ChannelNotFoundEntity:
            if not self._is_former:
                raise
            self._is_gone = True
        self._work = asyncio.create_task(self._run(), name=f"intake {self.queue}")

    @property
    def is_active(self) -> bool:
        """True when messages came out of the queue lately: the broker has chosen this process for it."""
        return self._session is not None and self._session.is_active

    def give_up(self) -> None:
        """Let another process have the queue after the batch in hand, and stand in line for it again."""
        if self._session is not None:
            self._session.end()

    async def gone(self) -> bool:
        """Wait until a former queue is gone; False when this was stopped before."""
        if self._work is not None:
            await asyncio.wait([self._work])
        return self._is_gone

    async def stop(self) -> None:
        """Take nothing new, finish the batch in hand."""
        self._stopping.set()
        if self._work is not None:
            self.give_up()
            await asyncio.gather(self._work, return_exceptions=True)

    def abandon(self) -> None:
        """End at once, with whatever is in hand: it comes again."""
        if self._work is not None:
            self._work.cancel()

    async def _begin(self) -> Session:
        channel = await self._link.channel(publisher_confirms=False)
        session = Session(self.queue, channel)
        try:
            await session.begin(self._prefetch)
        except BaseException:
            await close_channel(channel)
            raise
        return session

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set() and not self._is_gone:
            try:
                if self._session is None:
                    self._session = await self._begin()
                    _log.info("consumes again", queue=self.queue)
                await self._follow(self._session)
                pause = _FIRST_PAUSE_SECONDS
            except ChannelNotFoundEntity:
                self._is_gone = self._is_former
                _log.info("the queue is gone", queue=self.queue, is_former=self._is_former)
            except (Exception, asyncio.CancelledError) as error:  # an intake that ends unseen would hold back its whole queue
                if is_cancelled():
                    raise
                (_log.info if isinstance(error, LINK_ERRORS) else _log.exception)(
                    "no session", queue=self.queue, error=repr(error)
                )
            finally:
                session, self._session = self._session, None
                if session is not None:
                    await session.close()
            if not self._is_gone:
                await self._rest(pause)
            pause = min(pause * 2, _LONGEST_ABSENCE_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds * random.uniform(0.5, 1.0))  # noqa: S311 spreads consumers
        except TimeoutError:
            return

    async def _follow(self, session: Session) -> None:
        """Handle what comes until the session is over."""
        while batch := await session.batch():
            waiting: list[Arrived] = []
            for arrived in batch:
                waiting.append(arrived)
                if isinstance(arrived.content, Marker):
                    if not await self._take(session, waiting[:-1]) or await self._is_deleted(session, arrived, arrived.content):
                        return
                    waiting.clear()
            if not await self._take(session, waiting):
                return

    async def _is_deleted(self, session: Session, arrived: Arrived, marker: Marker) -> bool:
        """Note a marker, everything before it being handled; the last producer's ends the queue.

        What may still come behind that are copies that were never confirmed to anybody who leads: they come by the new queues.
        """
        self._marked.add(marker.producer)
        if not self._producers <= self._marked:
            await session.acknowledge(arrived)  # should this process die, its producer sends it again before long
            return False
        await self._delete_queue()
        self._marked.clear()
        return True

    async def _take(self, session: Session, batch: list[Arrived]) -> bool:
        """Have messages handled and acknowledge them; False when that was not to be."""
        if not batch:
            return True
        events: list[RecordedEvent] = []
        last: Arrived | None = None
        for arrived in batch:
            if isinstance(arrived.content, RefusedMessage):
                if self._refuse is None:
                    await session.reject(arrived)
                    continue
                if not await self._keep(session, self._refuse, arrived.content):
                    return False
            elif isinstance(arrived.content, RecordedEvent):
                events.append(arrived.content)
            last = arrived
        if events and not await self._until_done(session, lambda: self._handle(events)):
            return False
        if last is not None:  # what is rejected has its answer already
            await session.acknowledge(last)
            crash_points.reached(crash_points.CONSUMER_ACKNOWLEDGED)
        return True

    async def _keep(self, session: Session, refuse: Refuse, refused: RefusedMessage) -> bool:
        return await self._until_done(session, lambda: refuse(refused))

    async def _until_done(self, session: Session, work: Callable[[], Awaitable[None]]) -> bool:
        """Try again here, whatever went wrong: given back to the broker, it would come behind later events of its stream."""
        pause = _FIRST_PAUSE_SECONDS
        while not session.is_over:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 a consumer that ends would hold back everything behind it
                _log.warning("not handled, tried again", queue=self.queue, error=repr(error))
                await session.over(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                return True
        return False

    async def _delete_queue(self) -> None:
        _log.info("everything before the marker is handled, the queue goes", queue=self.queue)
        await delete_queue(self._link, self.queue)  # this is its only active consumer, and it is behind the last event
