"""The memory image: live aggregates of one process, so that a hot one needs no read before it decides.

It is never trusted: the append's expected version tells whether it was up to date, and a refusal is only given by an
aggregate that was just compared with the log. Bounded by aggregates and by the bytes of the events they stand for; the
least recently used goes first. Source: Fowler, Memory Image, https://martinfowler.com/bliki/MemoryImage.html
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from sagakit.aggregate import Aggregate


@dataclass(slots=True)
class Live:
    """An aggregate in memory and the id of its last event.

    ``weight`` is the bytes of the events, or of the snapshot and the events, behind it.
    """

    aggregate: Aggregate
    weight: int = 0
    event_id: UUID | None = None


class MemoryImage:
    """Keeps live aggregates by stream."""

    def __init__(self, aggregates: int, weight: int) -> None:
        """Take how many aggregates are kept at most, and how many bytes they may stand for; 0 aggregates keeps none."""
        self._most, self._heaviest = aggregates, weight
        # With the weight at the time, since a live aggregate grows while it is kept.
        self._kept: OrderedDict[str, tuple[Live, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        """Count the aggregates."""
        return len(self._kept)

    def get(self, stream: str) -> Live | None:
        """Find a live aggregate."""
        kept = self._kept.get(stream)
        if kept is None:
            return None
        self._kept.move_to_end(stream)
        return kept[0]

    def put(self, stream: str, live: Live) -> None:
        """Keep an aggregate, and let the least recently used go where there are too many, or they are too heavy."""
        kept = self._kept.get(stream)
        if kept is not None and kept[0] is live and self.weight + live.weight - kept[1] <= self._heaviest:
            # The most frequent case by far: it grew where it is, and nothing has to go.
            self._kept[stream] = (live, live.weight)
            self._kept.move_to_end(stream)
            self.weight += live.weight - kept[1]
            return
        self.drop(stream)
        if not self._most or live.weight > self._heaviest:
            return
        self._kept[stream] = (live, live.weight)
        self.weight += live.weight
        while len(self._kept) > self._most or self.weight > self._heaviest:
            _, (_, weight) = self._kept.popitem(last=False)
            self.weight -= weight

    def drop(self, stream: str) -> None:
        """Forget an aggregate: what is in memory may not be what is in the log."""
        if (kept := self._kept.pop(stream, None)) is not None:
            self.weight -= kept[1]
