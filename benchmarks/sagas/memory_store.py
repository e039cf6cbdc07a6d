"""An event log in memory: what is left of a service when its database costs nothing. For measuring only: nothing is durable."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sagakit.errors import ConcurrencyError, DuplicateCommand
from sagakit.messages import RecordedEvent
from sagakit.outcome import CommandOutcome
from sagakit.ports import Append, LogReader, Snapshot, StoredLink


class MemoryStore:
    """The port `EventStore`, as far as commands need it, by its rules: expected versions, and one outcome a key."""

    def __init__(self, service: str) -> None:
        """Begin with an empty log."""
        self.service = service
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._outcomes: dict[str, CommandOutcome] = {}
        self._head = 0

    async def append(self, append: Append) -> list[int]:
        """See the port."""
        if append.key is not None and (known := self._outcomes.get(append.key)) is not None:
            raise DuplicateCommand(append.key, known)
        stream = self._streams.setdefault(append.stream, [])
        if append.events and len(stream) != append.expected_version:
            raise ConcurrencyError(append.stream, append.expected_version)
        if append.key is not None and append.outcome is not None:
            self._outcomes[append.key] = append.outcome
        for version, event in enumerate(append.events, append.expected_version + 1):
            self._head += 1
            stream.append(
                RecordedEvent.of(
                    event,
                    service=self.service,
                    stream=append.stream,
                    version=version,
                    position=self._head,
                    recorded_at=datetime.now(UTC),
                )
            )
        return list(range(self._head - len(append.events) + 1, self._head + 1))

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """See the port."""
        return self._streams.get(stream, [])[after_version:]

    async def outcome(self, key: str) -> CommandOutcome | None:
        """See the port."""
        return self._outcomes.get(key)

    async def head(self) -> int:
        """See the port."""
        return self._head

    async def load_snapshot(self, stream: str) -> Snapshot | None:  # noqa: ARG002 the port's signature
        """See the port: there is none."""
        return None

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See the port: it is not kept."""

    async def links(self, after: tuple[str, int], limit: int) -> list[StoredLink]:
        """See the port: nobody asks here."""
        raise NotImplementedError

    async def forget_outcomes(self, before: datetime, limit: int) -> int:
        """See the port: nobody asks here."""
        raise NotImplementedError

    def reader(self, after: int) -> LogReader:
        """See the port: nobody asks here."""
        raise NotImplementedError

    def on_commit(self, wake: Callable[[], None]) -> None:
        """See the port: nobody follows this log."""
