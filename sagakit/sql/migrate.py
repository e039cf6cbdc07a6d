"""Brings a service's database to the schema of this version, one process, and in it one database, at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sagakit.errors import StoreUnavailable

_LOCK = 0x5A6A_416
_VERSION_TABLE = "sagakit_schema"  # the same name stands in migrations/env.py

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def migrate(engine: AsyncEngine, what: str) -> None:
    """Apply missing migrations. Raises `StoreUnavailable`, naming the database, when it cannot be reached."""
    try:
        async with _in_turn(), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, DBAPIError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise StoreUnavailable(f"{what} cannot be used: {reason}. Start it, or correct SAGAKIT_DATABASE") from error


def _in_turn() -> asyncio.Lock:
    """Return this event loop's lock: Alembic keeps the migration at work in module globals, whichever database it is on."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def revision_of(engine: AsyncEngine) -> str | None:
    """Read which migration a database stands at; None when it holds no tables of ours. Changes nothing."""
    async with engine.connect() as connection:
        return await connection.run_sync(_revision)


def newest_revision() -> str | None:
    """Name the migration that this version's code expects."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    found = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE}).get_current_revision()
    return str(found) if found is not None else None
