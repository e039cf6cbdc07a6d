"""The connections of an event store: with the writer's rights only, and with errors in sagakit's words.

Not asyncpg's pool: that spends a task, a timer and a round trip on each release, about as long as an append itself takes.
Single statements leave nothing behind on a connection; one whose statement was cut off is thrown away.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg

from sagakit.errors import StoreUnavailable

T = TypeVar("T")
Connection: TypeAlias = asyncpg.Connection  # generic for checkers only
# The internal one is what asyncpg 0.32 raises when the server dies between the preparing of a statement and its sending.
LINK_ERRORS = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_RESTARTING = (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
_MOST = 10
_CONNECT_SECONDS = 10
# A user that may not take the role on keeps its own rights.
_BECOME_WRITER = """
select set_config('role', rolname, false) from pg_roles where rolname = 'sagakit_writer' and pg_has_role(oid, 'member')
"""


class Connections:
    """Up to ten connections to one service's database, the last one used first."""

    def __init__(self, service: str, url: str, seconds: float) -> None:
        """Name the service and its database; ``seconds`` is how long one statement may take."""
        self.service, self._url, self._seconds = service, url, seconds
        self._free: list[Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._count = 0
        self._in_use: set[Connection] = set()

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable` with the remedy."""
        try:
            self._give(await self._take())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            raise StoreUnavailable(
                f"the PostgreSQL database of service {self.service} cannot be used: {error}. "
                "Start it, or correct SAGAKIT_DATABASE"
            ) from error

    async def close(self) -> None:
        """Disconnect; statements in hand are cut off."""
        for connection in self._in_use:
            connection.terminate()
        for connection in self._free:
            try:
                await connection.close(timeout=2)
            except (*LINK_ERRORS, asyncpg.PostgresError):
                connection.terminate()
        self._free.clear()
        await asyncio.sleep(0)  # a terminated connection leaves the loop at its next turn

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement. Raises `StoreUnavailable` when its fate is unknown or the server away, else the driver's error."""
        try:
            connection = self._at_hand() or await self._take()
            try:
                rows: list[asyncpg.Record] = await connection.fetch(query, *values)
            except asyncpg.PostgresError:
                self._give(connection)
                raise
            except BaseException:
                connection.terminate()  # cut off half way, it may still be at work
                self._give(connection)
                raise
            self._give(connection)
        except LINK_ERRORS as error:
            raise StoreUnavailable(f"the database of service {self.service} does not answer: {error}") from error
        except _RESTARTING as error:
            raise StoreUnavailable(f"the database of service {self.service} is restarting: {error}") from error
        except asyncpg.TooManyConnectionsError as error:
            raise StoreUnavailable(f"the database of service {self.service} has no connection left: {error}") from error
        return rows

    async def fetch_patiently(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Run a statement that may be repeated, until the server answers or the seconds are over."""
        return await patiently(lambda: self.fetch(query, *values), self._seconds)

    def _at_hand(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                self._in_use.add(connection)
                return connection
            self._count -= 1
        return None

    async def _take(self) -> Connection:
        while True:
            if (connection := self._at_hand()) is not None:
                return connection
            if self._count < _MOST:
                break
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()  # its turn goes to somebody else
                raise
        self._count += 1
        made: Connection | None = None
        try:
            made = await self.connect()
            await made.execute(_BECOME_WRITER)
        except BaseException:
            if made is not None:
                made.terminate()
            self._count -= 1
            self._next()
            raise
        self._in_use.add(made)
        return made

    async def connect(self) -> Connection:
        """Open a connection beside the others; whoever asked closes it."""
        return await asyncpg.connect(
            self._url,
            timeout=_CONNECT_SECONDS,
            command_timeout=self._seconds,
            server_settings={"application_name": f"sagakit {self.service}"},
        )

    def _give(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        if connection.is_closed():
            self._count -= 1
        else:
            self._free.append(connection)
        if self._waiting:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its caller went away
                turn.set_result(None)
                return


async def patiently(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Repeat a call while the server is away, with growing, jittered pauses. Raises the last `StoreUnavailable`."""
    deadline = asyncio.get_running_loop().time() + seconds
    pause = 0.05
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 jitter, no secret
        pause = min(pause * 2, 1.0)
