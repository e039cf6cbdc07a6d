"""What the loops need from the outside world. Adapters: sqlite, postgres, memory, rabbitmq."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from sagakit.messages import NewEvent, RecordedEvent
from sagakit.outcome import CommandOutcome

if TYPE_CHECKING:
    from sqlmodel import SQLModel
    from sqlmodel.ext.asyncio.session import AsyncSession


@dataclass(slots=True)  # not frozen: each command makes one, and this costs a third
class Append:
    """One atomic append to one stream: the events, the version the writer last saw, and the command's outcome.

    ``expected_version`` 0 means that the stream must be new. ``key`` is the idempotency key; without one nothing is
    remembered of the command. A refusal is an append of no events with an outcome.
    """

    stream: str
    expected_version: int
    events: tuple[NewEvent, ...]
    key: str | None = None
    outcome: CommandOutcome | None = None


@dataclass(frozen=True)
class Snapshot:
    """An aggregate's state at one event of its stream: a cache, never the truth.

    ``fingerprint`` names the code that folded it; ``checksum`` is over the state and where it stands.
    """

    stream: str
    version: int
    event_id: UUID
    fingerprint: str
    checksum: str
    state: str


@dataclass(frozen=True)
class StoredLink:
    """An event as a link of its stream's chain: the digest of what stands in the log, and the hash that was written with it."""

    stream: str
    version: int
    position: int
    event_id: UUID
    type: str
    digest: bytes
    recorded_at: datetime
    hash: bytes | None


@dataclass(frozen=True)
class FailedCommand:
    """A command whose handler raised what nobody expected: its personal values are pseudonyms, made with ``mask_key``.

    ``version`` is the stream's version that it met. ``mask_key`` is never shown: with it the pseudonyms of an export agree.
    """

    id: str
    command: str
    fields: dict[str, Any]
    stream: str
    version: int
    exception: str
    text: str
    traceback: str
    correlation_id: str
    causation_id: str | None
    command_key: str | None
    actor: str | None
    recorded_at: datetime
    mask_key: str


class FailureLog(Protocol):
    """Keeps the failed commands of one service."""

    async def record(self, failed: FailedCommand) -> None:
        """Keep one; repeating its id changes nothing."""

    async def find(self, *, correlation_id: str | None = None, stream: str | None = None) -> list[FailedCommand]:
        """List them in the order of their time: all, or those of a conversation or a stream."""


class LogReader(Protocol):
    """Reads one service's log in position order, from where it was opened."""

    async def read(self, limit: int) -> list[RecordedEvent]:
        """Return the next events, at most ``limit``; empty when there is none, or none that is proven to be next.

        Ordering: growing position, and stream order inside each stream. Delivery: no committed event is skipped (G2).
        """


class EventStore(Protocol):
    """The event log of one service, which is also its outbox.

    One append is one stream: several streams in one atomic append are not offered, since an aggregate is the unit of
    consistency. What has to happen in several of them is a saga.
    """

    service: str

    async def append(self, append: Append) -> list[int]:
        """Store all of it or nothing; return the events' positions. Durable when it returns (G1).

        Appends of one process that wait for a commit share the next one; each succeeds or fails for itself. When the
        database's answer is lost, the truth is found out before this returns.
        Raises `ConcurrencyError` when the stream is not at the expected version, `DuplicateCommand` when the key is taken,
        `StoreUnavailable` when the database stays away, in which case the append's fate is unknown.
        """

    async def load(self, stream: str, after_version: int = 0) -> list[RecordedEvent]:
        """Return the stream's events after a version, in order."""

    async def outcome(self, key: str) -> CommandOutcome | None:
        """Return what became of the command with this key, if it is known."""

    async def links(self, after: tuple[str, int], limit: int) -> list[StoredLink]:
        """Return events as links, by stream and version, behind a (stream, version)."""

    async def forget_outcomes(self, before: datetime, limit: int) -> int:
        """Remove at most ``limit`` outcomes of commands recorded before a time; return how many."""

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """Return the last snapshot of a stream, unchecked."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of an older one, or of one by other code."""

    def reader(self, after: int) -> LogReader:
        """Open the one reader of the log behind a position."""

    async def head(self) -> int:
        """Return the highest position that can be seen now, 0 for an empty log."""

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` soon after anybody's append: a hint that saves waiting, never the only way to learn of events."""


class ReadModels(Protocol):
    """The tables of one service beside its log: read models, inbox, checkpoints."""

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a transaction that commits at the end of the block, and rolls back on any error."""

    async def create(self, tables: Sequence[type[SQLModel]]) -> None:
        """Create missing tables; existing ones stay as they are."""


@dataclass(frozen=True)
class Subscription:
    """Who wants which events: a durable consumer, the producing service and the event types."""

    consumer: str
    producer: str
    event_types: frozenset[str]


Handle = Callable[[RecordedEvent], Awaitable[None]]
"""Handles one event; returning means that its effect is committed."""


class Bus(Protocol):
    """Carries events from the relay of their service to durable consumers.

    Delivery: at least once. Ordering: events of one stream reach a consumer in the order of publishing.
    """

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """Make sure that each consumer's queue and bindings exist. Repeating it changes nothing."""

    async def publish(self, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """Hand events over; answer each with None (confirmed) or why its fate is unknown."""

    async def consume(self, consumer: str, handle: Handle) -> Callable[[], Awaitable[None]]:
        """Start handing events to ``handle``; return the function that stops it after the event in hand."""

    async def close(self) -> None:
        """Give connections back."""
