"""One connection to RabbitMQ for one purpose: made when it is needed, and made again after it was lost.

The library's own reconnecting is not used: it brings channels back behind the back of whoever counts on what was in flight on
them, and fails every call at once while it waits (failures B8, C2). Here a lost connection is lost, with all its channels.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, TimeoutType

from sagakit.errors import BusUnavailable
from sagakit.rabbitmq.driver_errors import LINK_ERRORS, driver_errors
from sagakit.telemetry import count

_log = structlog.get_logger("sagakit.rabbitmq")
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_HANDSHAKE_SECONDS = 5.0
_GOODBYE_SECONDS = 2.0


class _Connection(aio_pika.Connection):
    """One that could not be made is closed: the driver would close it when it is collected, which may be outside the loop."""

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 the signature is the driver's
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


class Link:
    """Safe to be used by many tasks: one attempt to connect serves all, and each waits for it until its own deadline."""

    def __init__(self, url: str, purpose: str, deadline_seconds: float, heartbeat_seconds: int) -> None:
        """Take the AMQP URL, what the connection is for, and the seconds in which the broker has to answer."""
        self._url, self._purpose, self._deadline, self._heartbeat = url, purpose, deadline_seconds, heartbeat_seconds
        self._connection: AbstractConnection | None = None
        self._reconnecting: asyncio.Task[AbstractConnection] | None = None
        self._was_blocked = False
        self._goodbyes: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect, or raise `BusUnavailable` at the first failure."""
        try:
            await self._connect()
        except LINK_ERRORS as error:
            raise BusUnavailable(f"RabbitMQ does not answer: {error}. Start it, or correct SAGAKIT_BUS") from error

    async def _connect(self) -> AbstractConnection:
        with driver_errors():
            self._connection = await aio_pika.connect(
                self._url,
                timeout=max(self._deadline, _HANDSHAKE_SECONDS),
                heartbeat=self._heartbeat,
                client_properties={"connection_name": f"sagakit {self._purpose}"},
                connection_class=_Connection,
            )
        self._was_blocked = False
        return self._connection

    async def _connected(self) -> AbstractConnection:
        """Return the living connection, waiting for one until the deadline (B8)."""
        if self._connection is not None and _is_alive(self._connection):
            return self._connection
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.create_task(self._reconnect(), name=f"connecting to {self._purpose}")
        await asyncio.wait([self._reconnecting], timeout=self._deadline)
        if not self._reconnecting.done():
            raise TimeoutError(f"no connection in {self._deadline} s")
        return self._reconnecting.result()

    async def _reconnect(self) -> AbstractConnection:
        """Try until it is done, with growing pauses of random length, so that processes do not come all at once (C11)."""
        self._abandon()
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                return await self._connect()
            except LINK_ERRORS as error:
                _log.info("no connection yet", purpose=self._purpose, error=repr(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 spreads processes over time
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def channel(self, **options: Any) -> AbstractChannel:
        """Open a channel of the caller's own. Raises one of `LINK_ERRORS` when there is none by the deadline."""
        async with asyncio.timeout(self._deadline):
            connection = await self._connected()
            with driver_errors():
                return await connection.channel(**options)

    async def is_blocked(self) -> bool:
        """Say whether the broker takes no publish on this connection, because of an alarm of its memory or disk (B6)."""
        if self._connection is None or not _is_alive(self._connection) or self._connection.transport is None:
            return False
        is_blocked = False
        try:
            async with asyncio.timeout(0):
                await self._connection.transport.connection.ready()  # returns at once, unless blocked
        except TimeoutError:
            is_blocked = True
        if is_blocked != self._was_blocked:
            self._was_blocked = is_blocked
            _log.warning("blocked by an alarm of RabbitMQ" if is_blocked else "no longer blocked", purpose=self._purpose)
            if is_blocked:
                count("sagakit.bus.blocked")
        return is_blocked

    def drop(self) -> None:
        """Give a connection up that does not answer; the next call makes another."""
        self._abandon()

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            goodbye = asyncio.create_task(_close(connection), name=f"goodbye {self._purpose}")
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)

    async def close(self) -> None:
        """Give the connection back."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        self._abandon()
        await asyncio.gather(*self._goodbyes, return_exceptions=True)


async def close_channel(channel: AbstractChannel) -> bool:
    """Close a channel; False when the broker does not answer."""
    closing = asyncio.create_task(_close_channel(channel))
    done, _ = await asyncio.wait([closing], timeout=_GOODBYE_SECONDS)
    closing.cancel()
    return bool(done)


async def _close_channel(channel: AbstractChannel) -> None:
    try:
        with driver_errors():
            await channel.close()
    except LINK_ERRORS as error:
        _log.info("channel ended before it was closed", error=repr(error))


async def _close(connection: AbstractConnection) -> None:
    try:
        with driver_errors():
            await asyncio.wait_for(connection.close(), _GOODBYE_SECONDS)
    except LINK_ERRORS as error:
        _log.info("connection ended before it was closed", error=repr(error))
        await connection.close()  # its transport is gone by now, so that this only marks it as closed


def _is_alive(connection: AbstractConnection) -> bool:
    transport = connection.transport
    return transport is not None and not connection.is_closed and not transport.connection.is_closed
