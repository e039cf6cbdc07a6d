"""Throwaway databases for both sides on one throwaway PostgreSQL, the disk profiles, and the check of what was written."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from benchmarks.domain import SERVICE


@dataclass(frozen=True)
class Database:
    """A database of one side; ``template`` is what our setting takes, ``url`` what a driver takes."""

    template: str

    @property
    def url(self) -> str:
        """The URL of the database itself."""
        return self.template.replace("{service}", SERVICE)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Connect for set-up and checks."""
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def holds(self, events: int, commands: int | None = None) -> None:
        """Check our log: so many events, every stream at versions 1..n, so many outcomes. Raises `AssertionError`."""
        await self._holds("events", "stream", "version", events)
        if commands is not None:
            async with self.connection() as connection:
                found = await connection.fetchval("select count(*) from commands")
            _expect("outcomes of commands", found, commands)

    async def peer_holds(self, events: int) -> None:
        """Check the peer's log in the same way."""
        await self._holds("bench_events", "originator_id", "originator_version", events)

    async def _holds(self, table: str, stream: str, version: str, events: int) -> None:
        query = (
            f"select coalesce(sum(n), 0)::bigint as events, count(*) filter (where n <> last or first <> 1) as broken from "  # noqa: S608 our own names
            f"(select count(*) as n, min({version}) as first, max({version}) as last from {table} group by {stream}) as streams"
        )
        async with self.connection() as connection:
            row = await connection.fetchrow(query)
        _expect(f"events in {self.url.rpartition('/')[2]}", row["events"], events)
        _expect("streams with a hole", row["broken"], 0)


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found} instead of {wanted}; the measurement counts for nothing")


@dataclass
class Postgres:
    """The server, by its URL without a database; ``prefix`` keeps the databases of two processes apart."""

    url: str
    prefix: str = "b"
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def new_database(self) -> Database:
        """Create an empty database."""
        database = Database(f"{self.url}/{self.prefix}{next(self._numbers)}_{{service}}")
        await self._execute(f'create database "{database.url.rpartition("/")[2]}"')
        return database

    async def require_fsync(self) -> str:
        """Return the server's version. Raises `AssertionError` when it would not keep what it acknowledged."""
        connection = await self._connect()
        try:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                if (value := await connection.fetchval(f"show {setting}")) != "on":
                    raise AssertionError(f"{setting} is {value}: such numbers say nothing")
            return str(await connection.fetchval("show server_version"))
        finally:
            await connection.close()

    @asynccontextmanager
    async def slow_disk(self) -> AsyncIterator[None]:
        """Make every commit wait 2 ms, as a slow disk would: the profile `slow2ms`."""
        await self._execute("alter system set commit_delay = 2000", "alter system set commit_siblings = 0")
        try:
            yield
        finally:
            await self._execute("alter system reset commit_delay", "alter system reset commit_siblings")

    async def _execute(self, *statements: str) -> None:
        connection = await self._connect()
        try:
            for statement in statements:
                await connection.execute(statement)
            if any(statement.startswith("alter system") for statement in statements):
                await connection.execute("select pg_reload_conf()")
        finally:
            await connection.close()

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        for _ in range(200):
            try:
                return await asyncpg.connect(f"{self.url}/postgres")
            except asyncpg.CannotConnectNowError:  # its port answers before it does
                await asyncio.sleep(0.05)
        return await asyncpg.connect(f"{self.url}/postgres")
