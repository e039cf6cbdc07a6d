"""What one consumer is owed of one log, against what became of it: the books of the reconciler."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sagakit.messages import RecordedEvent

_MOST_MISSING = 200_000
_MOST_NAMED = 20


@dataclass
class Account:
    """The figures of one consumer, over all that it is owed.

    ``owed`` is the sum of ``handled``, ``dropped``, ``forgotten``, ``parked``, ``waiting`` and ``lost``. ``handled`` counts the
    inbox; for a consumer of another code base, what the broker took and no longer has. ``forgotten`` were handled so long ago
    that the inbox rows are gone. ``doubled`` is None where effects are not counted. ``late`` of what waits is older than the
    grace.
    """

    consumer: str
    owed: int = 0
    handled: int = 0
    dropped: int = 0
    forgotten: int = 0
    parked: int = 0
    waiting: int = 0
    late: int = 0
    lost: int = 0
    doubled: int | None = None
    named: list[str] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """True when something is lost, or took effect twice."""
        return bool(self.lost or self.doubled)

    def lose(self, missing: Missing) -> None:
        """Count an event that is owed and nowhere; the first twenty are named."""
        self.lost += 1
        if len(self.named) < _MOST_NAMED:
            self.named.append(f"{missing.stream} version {missing.version} (position {missing.position}, id {missing.event_id})")


@dataclass(frozen=True, slots=True)
class Missing:
    """An event that is published and not in the inbox: in the queue, in somebody's hands, or lost."""

    position: int
    stream: str
    version: int
    event_id: str


class MissingEvents:
    """The latest of them, at most 200,000, so that memory stays bounded; those before are lost to a queue that is shorter."""

    def __init__(self, account: Account) -> None:
        """Take the account on which those are lost that are pushed out."""
        self._account = account
        self.events: deque[Missing] = deque()

    def add(self, event: RecordedEvent) -> None:
        """Keep an event."""
        self.events.append(Missing(event.position, event.stream, event.version, str(event.id)))
        if len(self.events) > _MOST_MISSING:
            self._account.lose(self.events.popleft())
