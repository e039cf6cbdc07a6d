"""What a reader gave, held against what was committed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sagakit.messages import RecordedEvent
from tests.support.log_sessions import Ledger


@dataclass(frozen=True)
class Verdict:
    """All zero is what G2 promises."""

    lost: int
    twice: int
    never_committed: int
    position_inversions: int
    stream_inversions: int


class Watched:
    """A reader with all that it gave, in its order."""

    def __init__(self, reader: Any, ledger: Ledger) -> None:
        self._reader, self._ledger = reader, ledger
        self.given: list[tuple[int, str, int, Any]] = []
        self._too_early = 0

    async def read(self, limit: int) -> int:
        page = [_facts(event) for event in await self._reader.read(limit)]
        assert len(page) <= limit
        self._too_early += sum(facts[3] not in self._ledger.committed for facts in page)
        self.given += page
        return len(page)

    def verdict(self) -> Verdict:
        ids = {facts[3] for facts in self.given}
        last: dict[str, int] = {}
        inversions = 0
        for _, stream, version, _ in self.given:
            inversions += version != last.get(stream, 0) + 1
            last[stream] = version
        return Verdict(
            lost=len(self._ledger.committed.keys() - ids),
            twice=len(self.given) - len(ids),
            never_committed=self._too_early + len(ids & self._ledger.rolled_back),
            position_inversions=sum(one[0] >= two[0] for one, two in pairwise(self.given)),
            stream_inversions=inversions,
        )


def _facts(event: Any) -> tuple[int, str, int, Any]:
    if isinstance(event, RecordedEvent):
        return event.position, event.stream, event.version, event.id
    return event["position"], event["stream"], event["version"], event["id"]
