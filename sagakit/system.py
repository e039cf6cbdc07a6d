"""The databases of a system's services, opened as the settings say, and the way in for commands and queries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg

from sagakit.errors import InvalidInput, StoreUnavailable
from sagakit.image import MemoryImage
from sagakit.messages import Command
from sagakit.outcome import CommandOutcome
from sagakit.postgres.store import PostgresEventStore
from sagakit.repository import Context, Repository
from sagakit.service import Service, ServiceMap
from sagakit.settings import Settings
from sagakit.sql.migrate import migrate
from sagakit.sql.read_models import SqlReadModels, postgres_engine, sqlite_engine
from sagakit.sqlite.store import SqliteEventStore


@dataclass(frozen=True)
class OpenService:
    """A service with its database open."""

    service: Service
    store: SqliteEventStore | PostgresEventStore
    tables: SqlReadModels
    repository: Repository

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
            service = self.services.service(name)
            store, tables, what = await (self._postgres(name) if self.settings.database != "sqlite" else self._sqlite(name))
            await migrate(tables.engine, what)
            await tables.create([projection.table for projection in service.projections])
            await store.open()
            image = MemoryImage(self.settings.image_aggregates, self.settings.image_bytes)
            self._open[name] = OpenService(service, store, tables, Repository(store, self.services.registry, image))
        return self._open[name]

    async def _sqlite(self, name: str) -> tuple[SqliteEventStore, SqlReadModels, str]:
        path = self.settings.data / f"{name}.db"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"the data folder {path.parent} cannot be made: {error.strerror}. Correct SAGAKIT_DATA"
            ) from error
        settings = self.settings
        store = SqliteEventStore(name, path, is_grouped=settings.group_commit, is_chained=settings.hash_chain)
        return store, SqlReadModels(sqlite_engine(path)), f"the database file {path}"

    async def _postgres(self, name: str) -> tuple[PostgresEventStore, SqlReadModels, str]:
        url = self.settings.database.replace("{service}", name)
        what = f"the PostgreSQL database of service {name}"
        await _create_if_missing(url, what)
        store = PostgresEventStore(
            name,
            url,
            is_grouped=self.settings.group_commit,
            is_chained=self.settings.hash_chain,
            seconds=self.settings.store_seconds,
        )
        return store, SqlReadModels(postgres_engine(url)), what

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
