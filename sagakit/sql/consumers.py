"""The row of each consumer: whether somebody holds it still, and what it counted. Always in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.errors import InfrastructureError, InvalidInput
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import ConsumerRow

# An advisory lock and no row lock: who waits for it alone is served in turn, where shared row locks could starve it for ever.
_LOCK = 0x5A6A_C0
_SHARE = text("select pg_advisory_xact_lock_shared(:lock, hashtext(:consumer))")
_HELD = text("select paused_by from sagakit_consumers where consumer = :consumer")
_ALONE = text("select pg_advisory_xact_lock(:lock, hashtext(:consumer))")


async def register(session: AsyncSession, consumer: str) -> None:
    """Make sure that the consumer has its row."""
    await insert_if_new(session, ConsumerRow, consumer=consumer, partitions=[], repeats=0, forgotten=0)


async def require_running(session: AsyncSession, consumer: str) -> None:
    """Hold off whoever would pause the consumer until this transaction ends. Raises `InfrastructureError` when it is paused."""
    await _lock(session, consumer, is_alone=False)
    paused_by = await _held_by(session, consumer)
    if paused_by is not None:
        raise InfrastructureError(f"consumer {consumer} is paused by {paused_by}: its events wait until that is over")


async def pause(session: AsyncSession, consumer: str, by: str) -> None:
    """Hold the consumer still: waits for the batch in hand, and none begins once this is committed.

    Raises `InvalidInput` when somebody else holds it.
    """
    await register(session, consumer)
    await _lock(session, consumer, is_alone=True)
    held = await _held_by(session, consumer)
    if held is not None and held != by:
        raise InvalidInput(f"consumer {consumer} is paused by {held} already: wait for its end, or `resume` it")
    await session.exec(update(ConsumerRow).where(col(ConsumerRow.consumer) == consumer).values(paused_by=by))


async def resume(session: AsyncSession, consumer: str) -> None:
    """Let the consumer go on."""
    await session.exec(update(ConsumerRow).where(col(ConsumerRow.consumer) == consumer).values(paused_by=None))


async def _held_by(session: AsyncSession, consumer: str) -> str | None:
    connection = await session.connection()
    return (await connection.execute(_HELD, {"consumer": consumer})).scalar_one_or_none()


async def _lock(session: AsyncSession, consumer: str, *, is_alone: bool) -> None:
    if session.get_bind().dialect.name == "postgresql":  # a transaction on SQLite is alone anyway
        connection = await session.connection()
        await connection.execute(_ALONE if is_alone else _SHARE, {"lock": _LOCK, "consumer": consumer})


async def count_repeats(session: AsyncSession, consumer: str, repeats: int) -> None:
    """Add deliveries of what was handled before; the last write of a transaction, since others wait for this row."""
    if repeats:
        counted = col(ConsumerRow.repeats) + repeats
        await session.exec(update(ConsumerRow).where(col(ConsumerRow.consumer) == consumer).values(repeats=counted))
