"""The tables of sagakit itself, in each service's database, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Column, DateTime, Float, Integer, Text
from sqlmodel import Field, SQLModel

_BIG = BigInteger().with_variant(Integer, "sqlite")


class CheckpointRow(SQLModel, table=True):
    """How far a reader of the log has come, and who may move it: the lease row with its epoch.

    ``event_id`` is the event at ``position``: a log that was restored and has grown since has another one there.
    """

    __tablename__ = "sagakit_checkpoints"
    name: str = Field(primary_key=True)
    position: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    event_id: str | None = None
    epoch: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    owner: str = ""
    leased_until: float = Field(default=0, sa_column=Column(Float, nullable=False))


class InboxRow(SQLModel, table=True):
    """An event that a consumer has handled; written in the transaction of its effect."""

    __tablename__ = "sagakit_inbox"
    consumer: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    stream: str
    version: int
    handled_at: datetime


class HeadRow(SQLModel, table=True):
    """The last version of a stream that took effect at a consumer, and how many effects there were: the second guard."""

    __tablename__ = "sagakit_heads"
    consumer: str = Field(primary_key=True)
    producer: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    version: int
    effects: int = Field(default=0, sa_column=Column(_BIG, nullable=False))


class ConsumerRow(SQLModel, table=True):
    """A consumer of this service: the numbers of partitions whose queues it still reads, and what it counted.

    ``paused_by`` names who holds it still, such as a rebuild; ``repeats`` are deliveries of what was handled before;
    ``forgotten`` are inbox rows removed after their retention.
    """

    __tablename__ = "sagakit_consumers"
    consumer: str = Field(primary_key=True)
    partitions: list[int] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    paused_by: str | None = None
    repeats: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    forgotten: int = Field(default=0, sa_column=Column(_BIG, nullable=False))


class ParkedRow(SQLModel, table=True):
    """An event that a consumer could not handle, or that waits behind such a one of the same stream.

    ``state`` is *retrying* (tried again at ``due_at``, seconds since the epoch), *parked* (waits for a person) or *behind*.
    ``original`` is the message as it came, once somebody edited it.
    """

    __tablename__ = "sagakit_parked"
    consumer: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    producer: str = ""
    stream: str = Field(index=True)
    version: int
    message: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    parked_at: datetime
    state: str = "parked"
    attempts: int = 0
    due_at: float = 0
    original: str | None = Field(default=None, sa_column=Column(Text))


class ParkedActionRow(SQLModel, table=True):
    """What a person did with a parked event, and why: never changed, never removed with the event."""

    __tablename__ = "sagakit_parked_actions"
    id: str = Field(primary_key=True)
    consumer: str = Field(index=True)
    event_id: str
    stream: str
    version: int
    action: str
    actor: str
    reason: str
    message: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class RefusedRow(SQLModel, table=True):
    """A message that is no event: kept in part, so that nothing from the wire vanishes without a trace."""

    __tablename__ = "sagakit_refused"
    id: str = Field(primary_key=True)
    consumer: str = Field(index=True)
    message_id: str | None = None
    reason: str = Field(sa_column=Column(Text, nullable=False))
    headers: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    body_excerpt: str = Field(sa_column=Column(Text, nullable=False))
    size: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    refused_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class SubscriptionRow(SQLModel, table=True):
    """Recorded in the producing service: a consumer that is owed these events. Its cursor is a checkpoint.

    ``former_partitions`` stands while its queues are exchanged for others. ``detached_at`` is the position behind which it was
    left alone because too much waits for it; ``trouble`` says why nothing reaches it.
    """

    __tablename__ = "sagakit_subscriptions"
    consumer: str = Field(primary_key=True)
    event_types: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    partitions: int = 1
    former_partitions: int | None = None
    backlog_limit: int = Field(default=10_000, sa_column=Column(_BIG, nullable=False))
    detached_at: int | None = Field(default=None, sa_column=Column(_BIG))
    trouble: str | None = Field(default=None, sa_column=Column(Text))
    is_external: bool = False


class ReplayRow(SQLModel, table=True):
    """Recorded in the producing service: positions ``first`` to ``last`` are sent to one consumer once more."""

    __tablename__ = "sagakit_replays"
    id: str = Field(primary_key=True)
    consumer: str
    first: int = Field(sa_column=Column(_BIG, nullable=False))
    last: int = Field(sa_column=Column(_BIG, nullable=False))
    position: int = Field(sa_column=Column(_BIG, nullable=False))
    sent: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
    actor: str
    requested_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))


class FailedCommandRow(SQLModel, table=True):
    """A command whose handler raised what nobody expected, masked; made by migration 0003."""

    __tablename__ = "sagakit_failed_commands"
    id: str = Field(primary_key=True)
    command: str
    fields_json: str = Field(sa_column=Column(Text, nullable=False))
    stream: str = Field(index=True)
    version: int
    exception: str
    text: str = Field(sa_column=Column(Text, nullable=False))
    traceback: str = Field(sa_column=Column(Text, nullable=False))
    correlation_id: str = Field(index=True)
    causation_id: str | None = None
    command_key: str | None = None
    actor: str | None = None
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    mask_key: str
