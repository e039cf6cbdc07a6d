"""Create the event log, the outcomes of commands, and the tables beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# xid stands before position: a transaction gets its xid, and so is visible to every snapshot, before it owns a number.
# The number is drawn inside the insert only, one at a time (cache 1).
_POSTGRES = """
create table events (
    xid            xid8        not null default pg_current_xact_id(),
    position       bigint      generated always as identity (cache 1) primary key,
    stream         text        not null,
    version        integer     not null check (version > 0),
    id             uuid        not null,
    type           text        not null,
    schema_version integer     not null,
    data           jsonb       not null,
    metadata       jsonb       not null,
    recorded_at    timestamptz not null default clock_timestamp(),
    constraint events_stream_version unique (stream, version),
    constraint events_id unique (id)
);
create index events_correlation on events ((metadata ->> 'correlation_id'));
create table commands (
    key         text        constraint commands_key primary key,
    outcome     text        not null,
    recorded_at timestamptz not null default now()
);
"""

_SQLITE = """
create table events (
    position       integer primary key autoincrement,
    stream         text    not null,
    version        integer not null check (version > 0),
    id             text    not null unique,
    type           text    not null,
    schema_version integer not null,
    data           text    not null,
    metadata       text    not null,
    recorded_at    text    not null,
    unique (stream, version)
);
create index events_correlation on events (json_extract(metadata, '$.correlation_id'));
create table commands (
    key         text primary key,
    outcome     text not null,
    recorded_at text not null
) without rowid;
"""


def _beside_the_log() -> None:
    big = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "sagakit_checkpoints",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("position", big, nullable=False),
        sa.Column("epoch", big, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("leased_until", sa.Float, nullable=False),
    )
    op.create_table(
        "sagakit_inbox",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("handled_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "sagakit_parked",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("stream", sa.String, nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("parked_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "sagakit_subscriptions",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("event_type", sa.String, primary_key=True),
    )


def upgrade() -> None:
    """Create all of it."""
    connection = op.get_bind()
    script = _POSTGRES if connection.dialect.name == "postgresql" else _SQLITE
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(sa.text(statement))
    _beside_the_log()
