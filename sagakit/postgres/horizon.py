"""Who holds a reader of the log back: an open writing transaction, in any database of the cluster (failures A8).

The reader passes a hole only when every transaction that could fill it has ended, so one that stays open holds it. It is
never passed by time: it is shown, by `doctor` and by the gauge ``sagakit.log.horizon_age``, so that a person ends it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sagakit.errors import StoreUnavailable
from sagakit.sql.read_models import SqlReadModels
from sagakit.telemetry import horizon_age

_log = structlog.get_logger("sagakit.horizon")
TOO_OLD_SECONDS = 60.0
_LOOK_SECONDS = 5.0

# A transaction without an xid has written nothing and holds nothing. The lowest xid is where the horizon stands.
# No query text: it may hold what people wrote.
_OLDEST_WRITER = text("""
with writers as (
    select backend_xid as xid, extract(epoch from clock_timestamp() - xact_start)::float8 as age,
           pid, application_name, datname, usename, state
    from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
    union all
    select transaction, extract(epoch from clock_timestamp() - prepared)::float8, null, gid, database, owner, 'prepared'
    from pg_prepared_xacts
)
select age, pid, application_name, datname, usename, state from writers order by age(xid) desc limit 1
""")


@dataclass(frozen=True)
class OpenWriter:
    """The oldest writing transaction. A prepared one has no pid, and its identifier in the place of the application.

    ``age_seconds`` is None when this role may not see it, ``state`` too: that needs the membership pg_read_all_stats.
    """

    age_seconds: float | None
    pid: int | None
    application: str
    database: str
    user: str
    state: str | None

    @property
    def is_too_old(self) -> bool:
        """True when a person should end it."""
        return self.age_seconds is not None and self.age_seconds > TOO_OLD_SECONDS

    def __str__(self) -> str:
        """Say how old it is and who, in one line."""
        age = "unknown age (grant this role pg_read_all_stats)" if self.age_seconds is None else f"{self.age_seconds:.0f} s"
        who = "a prepared transaction" if self.pid is None else f"pid {self.pid}"
        return f"{age}, {who}, {self.application!r} of {self.user} in {self.database}, {self.state or 'state unknown'}"


async def oldest_writer(tables: SqlReadModels) -> OpenWriter | None:
    """Look for the writing transaction that holds the readers back; None when there is none. Raises `StoreUnavailable`."""
    async with tables.transaction() as session:
        connection = await session.connection()
        found = (await connection.execute(_OLDEST_WRITER)).first()
    return OpenWriter(*found) if found else None


class HorizonWatch:
    """The loop that feeds the gauge of one service, and warns once of each writer that is too old."""

    def __init__(self, service: str, tables: SqlReadModels) -> None:
        """Name the service whose database is looked at."""
        self._service, self._tables = service, tables
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End at once."""
        self._stopping.set()

    async def run(self) -> None:
        """Look every five seconds until stopped."""
        warned_of: int | None = None
        while not self._stopping.is_set():
            writer = await self._look()
            if writer is not None and writer.is_too_old and warned_of != writer.pid:
                _log.warning("an open writing transaction holds the log's readers back", service=self._service, who=str(writer))
                warned_of = writer.pid
            try:
                await asyncio.wait_for(self._stopping.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue
        horizon_age().forget(self._service)

    async def _look(self) -> OpenWriter | None:
        try:
            writer = await oldest_writer(self._tables)
        except (StoreUnavailable, DBAPIError):
            horizon_age().forget(self._service)  # the loops say that the database is away
            return None
        age = 0.0 if writer is None else writer.age_seconds
        if age is None:
            horizon_age().forget(self._service)
        else:
            horizon_age().record(self._service, age)
        return writer
