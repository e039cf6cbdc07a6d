"""Tables that stand in front of the real ones, for one connection alone: what writes to them by name writes to the copy.

A temporary table hides the table of the same name from its own connection, on PostgreSQL and on SQLite. It goes when the
connection does, whatever happens to the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import ColumnElement, MetaData, Table, and_, exists, func, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.sql.read_models import transaction_over

_PAGE = 500
_NAMED = 100


@dataclass(frozen=True)
class Difference:
    """A row that is not the same: its key, and each column that differs with the value before and the one rebuilt.

    ``what`` is *differs*, *missing* (it is in the log's own answer only) or *extra* (no event leads to it).
    """

    key: dict[str, Any]
    what: str
    columns: dict[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass
class Comparison:
    """How many rows are equal and how many are not; the first 100 of these by name."""

    equal: int = 0
    different: int = 0
    named: list[Difference] = field(default_factory=list)

    def note(self, difference: Difference) -> None:
        """Count a difference, and keep it while there is room."""
        self.different += 1
        if len(self.named) < _NAMED:
            self.named.append(difference)


class Shadow:
    """Empty copies of tables, on a connection of their own. Use as an async context manager."""

    def __init__(self, engine: AsyncEngine, tables: Sequence[type[SQLModel]]) -> None:
        """Take a fresh engine, disposed of at the end, and the tables to stand in front of."""
        self._engine, self._tables = engine, [_table(table) for table in tables]
        self._connection: AsyncConnection
        self._live_schema = self._own_schema = ""

    async def __aenter__(self) -> Self:
        """Connect, and make the copies before anything is read: no statement has been prepared on the real ones."""
        self._connection = await self._engine.connect()
        is_postgres = self._engine.dialect.name == "postgresql"
        copies = MetaData()
        async with self._connection.begin():
            answer = await self._connection.execute(text("select current_schema()")) if is_postgres else None
            self._live_schema, self._own_schema = (answer.scalar_one(), "pg_temp") if answer else ("main", "temp")
            for table in self._tables:
                table.to_metadata(copies, schema=self._own_schema)
            await self._connection.run_sync(lambda sync: copies.create_all(sync, checkfirst=False))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect; the copies are gone."""
        await self._connection.close()
        await self._engine.dispose()

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction in which the tables' names mean the copies; all other tables are the real ones."""
        return transaction_over(self._connection)

    async def count(self, table: type[SQLModel]) -> int:
        """Count the rows of a copy."""
        async with self.transaction() as session:
            return int(
                (await (await session.connection()).execute(select(func.count()).select_from(self._copy(table)))).scalar_one()
            )

    async def compare(self, table: type[SQLModel]) -> Comparison:
        """Compare the real table with its copy, row by row over their primary key."""
        found = Comparison()
        live, copy = self._live(table), self._copy(table)
        keys = [column.name for column in live.primary_key.columns]
        async for page in self._pages(live, keys):
            wanted = [tuple(row[key] for key in keys) for row in page]
            statement = select(copy).where(tuple_(*(copy.c[key] for key in keys)).in_(wanted))
            async with self.transaction() as session:
                rebuilt = {
                    tuple(row[key] for key in keys): row
                    for row in (await (await session.connection()).execute(statement)).mappings()
                }
            for key, row in zip(wanted, page, strict=True):
                _compare_row(found, dict(zip(keys, key, strict=True)), dict(row), rebuilt.get(key))
        alone = select(copy).where(~exists().where(and_(*(live.c[key] == copy.c[key] for key in keys))))
        async with self.transaction() as session:
            for row in (await (await session.connection()).execute(alone)).mappings():
                found.note(Difference({key: row[key] for key in keys}, "missing"))
        return found

    async def replace(self, session: AsyncSession, table: type[SQLModel], where: tuple[str, Sequence[str]] | None = None) -> None:
        """Put the copy's rows in the place of the real ones: of all, or of those with one of some values in a column."""
        live, copy = self._live(table), self._copy(table)
        delete = live.delete() if where is None else live.delete().where(live.c[where[0]].in_(where[1]))
        await (await session.connection()).execute(delete)
        await (await session.connection()).execute(
            live.insert().from_select([column.name for column in live.columns], select(copy))
        )

    async def _pages(self, live: Table, keys: Sequence[str]) -> AsyncIterator[Sequence[Any]]:
        columns = [live.c[key] for key in keys]
        ordered = select(live).order_by(*columns).limit(_PAGE)
        behind: ColumnElement[bool] | None = None
        while True:
            async with self.transaction() as session:
                page = (
                    (await (await session.connection()).execute(ordered if behind is None else ordered.where(behind)))
                    .mappings()
                    .all()
                )
            if not page:
                return
            yield page
            behind = tuple_(*columns) > tuple_(*(literal(page[-1][column.name], column.type) for column in columns))

    def _live(self, table: type[SQLModel]) -> Table:
        return _table(table).to_metadata(MetaData(), schema=self._live_schema)

    def _copy(self, table: type[SQLModel]) -> Table:
        return _table(table).to_metadata(MetaData(), schema=self._own_schema)


def _table(table: type[SQLModel]) -> Table:
    found: Table = table.__table__  # type: ignore[attr-defined]
    return found


def _compare_row(found: Comparison, key: dict[str, Any], before: dict[str, Any], rebuilt: Any) -> None:
    if rebuilt is None:
        found.note(Difference(key, "extra"))
        return
    columns = {name: (value, rebuilt[name]) for name, value in before.items() if value != rebuilt[name]}
    if columns:
        found.note(Difference(key, "differs", columns))
    else:
        found.equal += 1
