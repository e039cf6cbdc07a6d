"""The connections of an event store: with the writer's rights only, and with errors in sagakit's words."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from sagakit.errors import StoreUnavailable

T = TypeVar("T")
LINK_ERRORS = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
_RESTARTING = (asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
# A user that may not take the role on keeps its own rights.
_BECOME_WRITER = """
select set_config('role', rolname, false) from pg_roles where rolname = 'sagakit_writer' and pg_has_role(oid, 'member')
"""


class Connections:
    """A pool of connections to one service's database."""

    def __init__(self, service: str, url: str, seconds: float) -> None:
        """Name the service and its database; ``seconds`` is how long one statement may take."""
        self.service, self._url, self._seconds = service, url, seconds

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable` with the remedy."""
        try:
            pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=10,
                command_timeout=self._seconds,
                timeout=10,
                init=_become_writer,
                reset=_leave_as_it_is,
                server_settings={"application_name": f"sagakit {self.service}"},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise StoreUnavailable(
                f"the PostgreSQL database of service {self.service} cannot be used: {error}. "
                "Start it, or correct SAGAKIT_DATABASE"
            ) from error
        self.pool: asyncpg.Pool[asyncpg.Record] = pool

    async def close(self) -> None:
        """Disconnect."""
        await self.pool.close()

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Run one statement. Raises `StoreUnavailable` when its fate is unknown or the server away, else the driver's error."""
        return await self._translated(lambda: self.pool.fetch(query, *values))

    async def fetch_patiently(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Run a statement that may be repeated, until the server answers or the seconds are over."""
        return await patiently(lambda: self.fetch(query, *values), self._seconds)

    async def listen(self) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection beside the pool."""
        return await asyncpg.connect(self._url, timeout=10, server_settings={"application_name": f"sagakit {self.service}"})

    async def _translated(self, call: Callable[[], Awaitable[T]]) -> T:
        """Translate the driver's errors of an unreachable server, here and only here."""
        try:
            return await call()
        except LINK_ERRORS as error:
            raise StoreUnavailable(f"the database of service {self.service} does not answer: {error}") from error
        except _RESTARTING as error:
            raise StoreUnavailable(f"the database of service {self.service} is restarting: {error}") from error
        except asyncpg.TooManyConnectionsError as error:
            raise StoreUnavailable(f"the database of service {self.service} has no connection left: {error}") from error


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


async def _become_writer(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.execute(_BECOME_WRITER)


async def _leave_as_it_is(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Nothing is left behind by single statements, so no round trip is spent on a reset."""
