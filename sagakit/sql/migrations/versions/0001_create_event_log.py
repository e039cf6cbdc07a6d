"""Create the event log, the outcomes of commands, and the tables beside them."""

import sqlalchemy as sa
from alembic import op

from sagakit.sql.tables import TABLES

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


def upgrade() -> None:
    """Create all of it."""
    connection = op.get_bind()
    script = _POSTGRES if connection.dialect.name == "postgresql" else _SQLITE
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(sa.text(statement))
    for table in TABLES:
        table.__table__.create(connection)  # type: ignore[attr-defined]
