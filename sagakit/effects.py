"""What events do, inside a transaction that somebody else begins and commits: one by one, or neighbours in one go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.messages import RecordedEvent

Effect = Callable[[AsyncSession, RecordedEvent], Awaitable[None]]
"""What one event does."""

Span = Callable[[RecordedEvent], AbstractContextManager[object]]
"""Begins the span in which an event is handled."""

Effects = Callable[[AsyncSession, Sequence[RecordedEvent], Span], Awaitable[None]]
"""What several events do, in their order, each in its span."""


def one_by_one(effect: Effect) -> Effects:
    """Make the effects of several out of the effect of one."""

    async def effects(session: AsyncSession, events: Sequence[RecordedEvent], span: Span) -> None:
        for event in events:
            with span(event):
                await effect(session, event)

    return effects
