"""Drives `projections/`: a table and one handler per event type make a read model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sagakit.errors import InvalidInput
from sagakit.messages import Event, RecordedEvent

if TYPE_CHECKING:
    from sqlmodel import SQLModel
    from sqlmodel.ext.asyncio.session import AsyncSession

E = TypeVar("E", bound=Event)
P = TypeVar("P")
Handler = Callable[[P, "AsyncSession", E, RecordedEvent], Awaitable[None]]
BatchHandler = Callable[[P, "AsyncSession", Sequence[tuple[E, RecordedEvent]]], Awaitable[None]]


def projects(event: type[E]) -> Callable[[Handler[P, E]], Handler[P, E]]:
    """Mark the method that writes what ``event`` means into the read model.

    Delivery: the session's transaction also holds the checkpoint (or the inbox row), so the effect happens once.
    """

    def mark(method: Handler[P, E]) -> Handler[P, E]:
        method.__sagakit_projects__ = event  # type: ignore[attr-defined]
        return method

    return mark


def projects_batch(event: type[E]) -> Callable[[BatchHandler[P, E]], BatchHandler[P, E]]:
    """Mark the method that writes what several ``event`` mean into the read model in one go, with one statement say.

    It gets what lies side by side in a batch, in order of delivery, at least one: how many is up to the load. Delivery: as for
    `projects`. Where an event among them fails, it is called again with each alone, so that no other is parked with it.
    """

    def mark(method: BatchHandler[P, E]) -> BatchHandler[P, E]:
        method.__sagakit_projects__ = event  # type: ignore[attr-defined]
        method.__sagakit_takes_batches__ = True  # type: ignore[attr-defined]
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

    @property
    def takes_batches(self) -> bool:
        """Tell whether any handler takes several events at once."""
        return any(_takes_batches(getattr(self, name)) for name in self.handlers.values())

    def batch_handler(self, events: Iterable[Event]) -> Callable[..., Awaitable[None]] | None:
        """Return the one method that takes all that a stored event means together with its neighbours, if there is one."""
        names = {self.handlers.get(type(event)) for event in events}
        name = names.pop() if len(names) == 1 else None
        method = getattr(self, name) if name else None
        return method if _takes_batches(method) else None

    async def apply(self, session: AsyncSession, events: Iterable[Event], recorded: RecordedEvent) -> None:
        """Hand what a stored event means to the handlers, in order; an event without one changes nothing."""
        for event in events:
            if name := self.handlers.get(type(event)):
                handler: Any = getattr(self, name)
                if _takes_batches(handler):
                    await handler(session, [(event, recorded)])
                else:
                    await handler(session, event, recorded)


def _takes_batches(handler: Any) -> bool:
    return getattr(handler, "__sagakit_takes_batches__", False)
