"""The databases of a system's services, opened as the settings say, and the way in for commands and queries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sagakit.errors import InvalidInput, StoreUnavailable
from sagakit.image import MemoryImage
from sagakit.messages import Command
from sagakit.outcome import CommandOutcome
from sagakit.postgres.store import PostgresEventStore
from sagakit.repository import Context, Repository
from sagakit.service import Service, ServiceMap
from sagakit.settings import Settings
from sagakit.sql.failures import SqlFailureLog
from sagakit.sql.migrate import migrate, newest_revision, revision_of
from sagakit.sql.read_models import SqlReadModels, postgres_engine, reading_engine, sqlite_engine
from sagakit.sqlite.store import SqliteEventStore


@dataclass(frozen=True)
class OpenService:
    """A service with its database open."""

    service: Service
    store: SqliteEventStore | PostgresEventStore
    tables: SqlReadModels
    repository: Repository
    failures: SqlFailureLog

    async def close(self) -> None:
        """Finish what is in hand and disconnect."""
        await self.repository.settle()
        await self.store.close()
        await self.tables.close()


class System:
    """Opens services on first use; close it when done. Use as an async context manager."""

    def __init__(self, settings: Settings, services: ServiceMap) -> None:
        """Take the settings and the list of services."""
        self.settings, self.services = settings, services
        self._open: dict[str, OpenService] = {}
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every database."""
        for opened in self._open.values():
            await opened.close()

    async def open(self, name: str) -> OpenService:
        """Open a service's database: create it when missing, bring it to this version's schema.

        Raises `StoreUnavailable`, naming the database and the setting.
        """
        if name not in self._open:
            # Commands come side by side: without the lock each would open the database anew, and only one be closed.
            async with self._opening:
                if name not in self._open:
                    self._open[name] = await self._made_ready(name)
        return self._open[name]

    async def _made_ready(self, name: str) -> OpenService:
        if self.settings.database == "sqlite":
            self._make_folder()
        else:
            await _create_if_missing(self._url(name), self._what(name))
        opened = self._unopened(name)
        await migrate(opened.tables.engine, self._what(name))
        await opened.tables.create([projection.table for projection in opened.service.projections])
        await opened.store.open()
        return opened

    @asynccontextmanager
    async def look(self, name: str) -> AsyncIterator[OpenService | None]:
        """Open a service's database as it stands for the block, or yield None when there is none yet: nothing is made.

        Raises `StoreUnavailable` when it does not answer, or when its schema is not the one of this version.
        """
        revision = await self._revision(name)
        if revision is None:
            yield None
            return
        if revision != (newest := newest_revision()):
            raise StoreUnavailable(
                f"{self._what(name)} is at schema {revision}, this version needs {newest}: `start` of this version brings it up"
            )
        opened = self._unopened(name)
        await opened.store.open()
        try:
            yield opened
        finally:
            await opened.close()

    async def _revision(self, name: str) -> str | None:
        if self.settings.database == "sqlite":
            if not self._path(name).is_file():
                return None
            engine = reading_engine(self._path(name))
        else:
            engine = self.engine(name)
        try:
            return await revision_of(engine)
        except (OSError, TimeoutError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            driver = error.orig if isinstance(error, DBAPIError) else error
            if getattr(driver, "sqlstate", None) == asyncpg.InvalidCatalogNameError.sqlstate:
                return None
            reason = str(error.__cause__ or error).splitlines()[0]
            raise StoreUnavailable(f"{self._what(name)} cannot be read: {reason}") from error
        finally:
            await engine.dispose()

    def _unopened(self, name: str) -> OpenService:
        settings = self.settings
        store: SqliteEventStore | PostgresEventStore
        if settings.database == "sqlite":
            path = self._path(name)
            store = SqliteEventStore(name, path, is_grouped=settings.group_commit, is_chained=settings.hash_chain)
        else:
            store = PostgresEventStore(
                name,
                self._url(name),
                is_grouped=settings.group_commit,
                is_chained=settings.hash_chain,
                seconds=settings.store_seconds,
            )
        image = MemoryImage(settings.image_aggregates, settings.image_bytes)
        tables = SqlReadModels(self.engine(name))
        failures = SqlFailureLog(tables)
        repository = Repository(store, self.services.registry, image, failures)
        return OpenService(self.services.service(name), store, tables, repository, failures)

    def engine(self, name: str) -> AsyncEngine:
        """Make an engine of the caller's own over a service's database; it connects on use, and the caller disposes of it."""
        if self.settings.database == "sqlite":
            return sqlite_engine(self._path(name))
        return postgres_engine(self._url(name), self.settings.idle_transaction_seconds)

    def _path(self, name: str) -> Path:
        return self.settings.data / f"{name}.db"

    def _url(self, name: str) -> str:
        return self.settings.database.replace("{service}", name)

    def _what(self, name: str) -> str:
        if self.settings.database == "sqlite":
            return f"the database file {self._path(name)}"
        return f"the PostgreSQL database of service {name}"

    def _make_folder(self) -> None:
        folder = self.settings.data
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the data folder {folder} cannot be made: {error.strerror}. Correct SAGAKIT_DATA") from error

    async def send(self, command: Command, context: Context) -> CommandOutcome:
        """Handle a command in its service. Raises `InvalidInput` for one that nobody handles."""
        service, aggregate = self.services.owner_of(type(command))
        opened = await self.open(service.name)
        return await opened.repository.handle(aggregate, command, context)


@asynccontextmanager
async def open_store(store: str, service: str | None = None) -> AsyncIterator[SqliteEventStore | PostgresEventStore]:
    """Open one event store as it is, a SQLite file or a PostgreSQL URL: no migration, no table made.

    Raises `InvalidInput` when it names none, `StoreUnavailable` when it holds no event log or does not answer.
    """
    opened: SqliteEventStore | PostgresEventStore
    if store.startswith(("postgresql://", "postgres://")):
        opened = PostgresEventStore(service or store.partition("?")[0].rpartition("/")[2], store)
    elif Path(store).is_file():  # noqa: ASYNC240 one look
        opened = SqliteEventStore(service or Path(store).stem, Path(store))
    else:
        raise InvalidInput(f"there is no store {store}: give a SQLite file, or a URL like postgresql://user@host:5432/orders")
    try:
        await opened.open()
    except ValueError:
        raise InvalidInput("the store's URL is not like postgresql://user@host:5432/orders") from None
    try:
        try:
            await opened.head()
        except asyncpg.UndefinedTableError:
            raise StoreUnavailable(f"the database of service {opened.service} holds no event log: correct the URL") from None
        yield opened
    finally:
        await opened.close()


async def _create_if_missing(url: str, what: str) -> None:
    try:
        try:
            connection = await asyncpg.connect(url, timeout=10)
        except asyncpg.InvalidCatalogNameError as error:
            base, _, rest = url.rpartition("/")
            database, _, options = rest.partition("?")
            connection = await asyncpg.connect(f"{base}/postgres{'?' + options if options else ''}", timeout=10)
            if not database.replace("_", "").isalnum():
                raise StoreUnavailable(f"{what}: {database!r} is no name for a database") from error
            # Another process may be quicker.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'create database "{database}"')
        await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"{what} cannot be reached: {error}. Start it, or correct SAGAKIT_DATABASE") from error
