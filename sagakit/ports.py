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

    def autocommit(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session in which each statement commits by itself.

        On a database server nothing is locked between two statements, however long this process stops there.
        """

    async def create(self, tables: Sequence[type[SQLModel]]) -> None:
        """Create missing tables; existing ones stay as they are."""


@dataclass(frozen=True)
class Subscription:
    """Who is owed which events: a durable consumer, the producing service and the event types.

    ``partitions`` is the number of its queues: the events of one stream are always in the same one. Behind ``backlog_limit``
    messages that wait there, nothing more is published to it until it has caught up. While ``former_partitions`` stands, its
    queues are exchanged: nothing is published until the former ones are empty and gone.
    """

    consumer: str
    producer: str
    event_types: frozenset[str]
    partitions: int = 1
    backlog_limit: int = 10_000
    former_partitions: int | None = None


Handle = Callable[[Sequence[RecordedEvent]], Awaitable[None]]
"""Handles events, those of one stream in stream order; returning means that the effect, or the parking, of each is committed."""


class Refused(Protocol):
    """What is kept of a message that is no event; ``size`` is that of the whole body, in bytes."""

    @property
    def message_id(self) -> str | None: ...  # noqa: D102 the class says what they are
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def headers(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def body_excerpt(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


Refuse = Callable[[Refused], Awaitable[None]]
"""Keeps a refused message; returning means that it is committed. It may come again, with the same ``message_id``."""

Retired = Callable[[], Awaitable[None]]
"""Is told that the queues of a former number of partitions are gone: nothing will ever come out of them again."""


class Bus(Protocol):
    """Carries events from the relay of their service to durable consumers.

    Delivery: at least once. Ordering: events of one stream reach a consumer in the order of publishing, as long as none of
    them failed; the sender sends again from the first that did.
    """

    async def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """Make sure that each consumer's queues exist. Repeating it changes nothing. Raises `BusUnavailable`."""

    async def bind_foreign(self, subscription: Subscription) -> None:
        """Make sure that what a producer of another code base sends reaches the consumer's queues, which exist.

        Repeating it changes nothing; types that are no longer wanted stay bound. Raises `BusUnavailable`, and `InvalidInput` on a
        bus that serves one process.
        """

    async def publish(self, subscription: Subscription, events: Sequence[RecordedEvent]) -> list[Exception | None]:
        """Hand events over to one consumer; answer each with None (confirmed) or why its fate is unknown.

        Other subscriptions do not wait for this one. `NotSendable` is the answer to an event that will never be taken, by its own
        fault, while others are; it was not handed over, and neither was any later event of its stream in the same call.
        """

    async def backlog(self, subscription: Subscription) -> int:
        """Count the messages that wait for a consumer. Raises `BusUnavailable`."""

    async def retire(self, subscription: Subscription, former_partitions: int) -> bool:
        """Take the queues of a former number of partitions out of use; True once they are gone. Ask again until then.

        Each gets a marker as this producer's last message. The consumer that meets the markers of all its producers has handled
        all before them, and deletes the queue. Only the feed that leads may call it, and it publishes nothing until the answer
        is True; then whatever the old queues held is handled, so that the first message in the new ones is in order. Safe to
        begin again after a crash at any moment. Raises `BusUnavailable`.
        """

    async def consume(
        self,
        subscription: Subscription,
        handle: Handle,
        refuse: Refuse | None = None,
        retired: Retired | None = None,
        producers: frozenset[str] = frozenset(),
    ) -> Callable[[], Awaitable[None]]:
        """Start handing a consumer's events to ``handle``; return the function that stops it after the events in hand.

        A message that is no event goes to ``refuse``, or without one to the dead letters. ``retired`` says that these are
        the queues of a former number of partitions: it is called once they are gone. Otherwise a queue that vanishes is
        waited for. ``producers`` are all that feed these queues, which go out of use when each of them has said so; the
        subscription's own when none is given. Raises `BusUnavailable`.
        """

    async def close(self) -> None:
        """Give connections back."""
