"""Several consumers held still by one holder, such as a rebuild: always inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.sql import consumers
from sagakit.sql.tables import ConsumerRow


async def hold(session: AsyncSession, names: Sequence[str], by: str, instead_of: str) -> None:
    """Hold consumers still, in place of a holder whose name begins with ``instead_of``; waits for the effects under way.

    Raises `InvalidInput` when somebody else holds one.
    """
    for former in await holders(session, names):
        if former.startswith(instead_of):
            await release(session, names, former)
    for name in names:
        await consumers.pause(session, name, by)


async def release(session: AsyncSession, names: Sequence[str], by: str | None = None) -> bool:
    """Let consumers go on, if ``by`` holds them, or whoever does when it is None; answer whether somebody did."""
    wanted = col(ConsumerRow.paused_by).is_not(None) if by is None else col(ConsumerRow.paused_by) == by
    statement = update(ConsumerRow).where(col(ConsumerRow.consumer).in_(names), wanted).values(paused_by=None)
    return bool((await session.exec(statement.execution_options(synchronize_session=False))).rowcount)


async def holders(session: AsyncSession, names: Sequence[str]) -> set[str]:
    """Name who holds consumers still, none when all go on."""
    held = col(ConsumerRow.consumer).in_(names), col(ConsumerRow.paused_by).is_not(None)
    found = (await session.exec(select(ConsumerRow.paused_by).where(*held))).all()
    return {holder for holder in found if holder is not None}
