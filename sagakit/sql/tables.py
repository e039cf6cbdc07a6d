"""The tables of sagakit itself, in each service's database, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Float, Integer, Text
from sqlmodel import Field, SQLModel

_BIG = BigInteger().with_variant(Integer, "sqlite")


class CheckpointRow(SQLModel, table=True):
    """How far a reader of the log has come, and who may move it: the lease row with its epoch."""

    __tablename__ = "sagakit_checkpoints"
    name: str = Field(primary_key=True)
    position: int = Field(default=0, sa_column=Column(_BIG, nullable=False))
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


class ParkedRow(SQLModel, table=True):
    """An event that a consumer could not handle, or that waits behind such a one of the same stream."""

    __tablename__ = "sagakit_parked"
    consumer: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    stream: str = Field(index=True)
    version: int
    message: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    parked_at: datetime


class SubscriptionRow(SQLModel, table=True):
    """Recorded in the producing service: a consumer that is owed these events."""

    __tablename__ = "sagakit_subscriptions"
    consumer: str = Field(primary_key=True)
    event_type: str = Field(primary_key=True)


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


TABLES: list[type[SQLModel]] = [CheckpointRow, InboxRow, ParkedRow, SubscriptionRow]
