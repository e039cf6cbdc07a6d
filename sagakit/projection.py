"""Drives `projections/`: a table and one handler per event type make a read model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sagakit.errors import InvalidInput
from sagakit.messages import Event, RecordedEvent

if TYPE_CHECKING:
    from sqlmodel import SQLModel
    from sqlmodel.ext.asyncio.session import AsyncSession

E = TypeVar("E", bound=Event)
P = TypeVar("P")
Handler = Callable[[P, "AsyncSession", E, RecordedEvent], Awaitable[None]]


def projects(event: type[E]) -> Callable[[Handler[P, E]], Handler[P, E]]:
    """Mark the method that writes what ``event`` means into the read model.

    Delivery: the session's transaction also holds the checkpoint (or the inbox row), so the effect happens once.
    """

    def mark(method: Handler[P, E]) -> Handler[P, E]:
        method.__sagakit_projects__ = event  # type: ignore[attr-defined]
        return method

    return mark


class Projection:
    """A read model. Fed from its own service's log, and over the bus for events of other services.

    Ordering: events of one aggregate arrive in stream order; events of different aggregates in any order.
    """

    name: ClassVar[str]
    table: ClassVar[type[SQLModel]]
    handlers: ClassVar[dict[type[Event], str]]

    def __init_subclass__(cls, *, name: str, table: type[SQLModel]) -> None:
        """Take the read model's name and its SQLModel table, and collect the marked methods."""
        if not name.isidentifier():
            raise InvalidInput(f"{cls.__name__}: name={name!r} may hold letters, digits and underscores only")
        cls.name, cls.table = name, table
        cls.handlers = {
            event: method_name
            for method_name, method in vars(cls).items()
            if (event := getattr(method, "__sagakit_projects__", None))
        }

    async def apply(self, session: AsyncSession, events: Iterable[Event], recorded: RecordedEvent) -> None:
        """Hand what a stored event means to the handlers, in order; an event without one changes nothing."""
        for event in events:
            if name := self.handlers.get(type(event)):
                handler: Any = getattr(self, name)
                await handler(session, event, recorded)
