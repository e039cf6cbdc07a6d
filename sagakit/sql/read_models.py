"""Transactions over a service's tables beside its log, for both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import NullPool, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import StoreUnavailable
from sagakit.sql.idleness import bound_all

_MIGRATION_LOCK = 0x5A6A_417
_NOBODY_IN = ("57P01", "57P02", "57P03", "53300")  # SQLSTATE: shut down, crashed, not yet up, too many connections
_ENDED_IDLE = "25P03"  # SQLSTATE: the transaction waited too long for its process


class SqlReadModels:
    """Implements the port `ReadModels` on SQLAlchemy."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take an engine whose transactions begin at once (see `sqlite_engine`)."""
        self.engine = engine
        is_postgres = engine.dialect.name == "postgresql"
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT") if is_postgres else engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction; commit at the end of the block, roll back on any error."""
        async with transaction_over(self.engine) as session:
            yield session

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncSession]:
        """See the port. On SQLite, whose lock is the file's, it is a transaction."""
        async with transaction_over(self._autocommit) as session:
            yield session

    async def create(self, tables: Sequence[type[SQLModel]]) -> None:
        """Create missing tables, one process at a time."""
        async with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            wanted = [table.__table__ for table in tables]  # type: ignore[attr-defined]
            await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, tables=wanted))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@asynccontextmanager
async def transaction_over(bind: AsyncEngine | AsyncConnection) -> AsyncIterator[AsyncSession]:
    """Open a transaction on an engine, or on one connection of it, to which nothing else may happen meanwhile."""
    try:
        async with AsyncSession(bind, expire_on_commit=False) as session, session.begin():
            yield session
    except (OSError, DBAPIError) as error:
        if isinstance(error, DBAPIError) and not error.connection_invalidated and not _is_away(error):
            raise
        raise StoreUnavailable(f"the database of the read models does not answer: {_reason(error)}") from error


def _reason(error: OSError | DBAPIError) -> str:
    name = type(error).__name__
    if not isinstance(error, DBAPIError) or _state(error) in _NOBODY_IN:
        return name
    # Why a connection was closed, the driver tells but sometimes.
    return f"{name}. PostgreSQL also ends a transaction that waits SAGAKIT_IDLE_TRANSACTION_SECONDS for its process"


def _is_away(error: DBAPIError) -> bool:
    """Tell whether the server let nobody in: it starts, stops, or has no connection left. To the driver that is no lost link."""
    state = _state(error)
    return state.startswith("08") or state in _NOBODY_IN or state == _ENDED_IDLE


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or getattr(getattr(error.orig, "__cause__", None), "sqlstate", None) or "")


def sqlite_engine(path: Path) -> AsyncEngine:
    """Make an engine over a file whose transactions take the write lock at their begin, so that none fails half way."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(path: Path) -> AsyncEngine:
    """Make an engine that can only read a file: it creates none, and leaves the one there is as it is."""
    return create_async_engine(f"sqlite+aiosqlite:///file:{quote(str(path))}?mode=ro&uri=true", poolclass=NullPool)


def postgres_engine(url: str, idle_seconds: float) -> AsyncEngine:
    """Make an engine over asyncpg; dead connections are noticed before use.

    The server ends a transaction that waits ``idle_seconds`` for this process.
    """
    rest = url.partition("://")[2]
    engine = create_async_engine(f"postgresql+asyncpg://{rest}", pool_pre_ping=True, pool_size=5, max_overflow=5)
    bound_all(engine, idle_seconds)
    return engine
