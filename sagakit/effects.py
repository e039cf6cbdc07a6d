"""What events do, inside a transaction that somebody else begins and commits: one by one, or neighbours in one go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from types import TracebackType

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.messages import RecordedEvent

Effect = Callable[[AsyncSession, RecordedEvent], Awaitable[None]]
"""What one event does."""

Span = Callable[[RecordedEvent], AbstractContextManager[object]]
"""The span in which an event is handled."""

Effects = Callable[[AsyncSession, Sequence[RecordedEvent], Span], Awaitable[None]]
"""What several events do, in their order, each in its span."""


def one_by_one(effect: Effect) -> Effects:
    """Make the effects of several out of the effect of one."""

    async def effects(session: AsyncSession, events: Sequence[RecordedEvent], span: Span) -> None:
        for event in events:
            with span(event):
                await effect(session, event)

    return effects


@contextmanager
def side_by_side(spans: Sequence[AbstractContextManager[object]]) -> Iterator[None]:
    """Run a block within several spans, of which none is current: it would be the parent of the next, and of what is in it."""
    with ExitStack() as stack:
        for span in spans:
            stack.enter_context(_NotCurrent(span))
        yield


class _NotCurrent(AbstractContextManager[None]):
    """Enters and leaves a span in a context of its own."""

    def __init__(self, span: AbstractContextManager[object]) -> None:
        self._span, self._context = span, copy_context()

    def __enter__(self) -> None:
        self._context.run(self._span.__enter__)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.run(self._span.__exit__, kind, error, trace)
