"""How long a transaction may wait for its own process before PostgreSQL ends it; SQLite knows no such bound.

A process that is stopped in the middle of a transaction would hold its locks, and the readers of all logs of the cluster at
their next hole, until it is woken (failures A8, B10).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

_BOUND = """
select set_config(name, '{milliseconds}', {is_local}) from pg_settings
where name = 'idle_in_transaction_session_timeout' and setting::bigint not between 1 and {milliseconds}
"""


def bound_all(engine: AsyncEngine, seconds: float) -> None:
    """Bound the transactions of an engine that has no connection yet; a shorter bound of the server's stays."""

    @event.listens_for(engine.sync_engine, "connect")
    def _bound(connection: Any, _record: Any) -> None:
        # By a statement: a pooling proxy refuses a parameter that it does not know at the start of a connection.
        connection.run_async(lambda driver: driver.execute(_bounding(seconds, is_local=False)))


async def bound(session: AsyncSession, seconds: float) -> None:
    """Bound the transaction that is open; a shorter bound stays."""
    if session.get_bind().dialect.name == "postgresql":
        await (await session.connection()).exec_driver_sql(_bounding(seconds, is_local=True))


def _bounding(seconds: float, *, is_local: bool) -> str:
    return _BOUND.format(milliseconds=max(1, round(seconds * 1000)), is_local=str(is_local).lower())
