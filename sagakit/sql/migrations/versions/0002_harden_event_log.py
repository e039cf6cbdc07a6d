"""Keep events as they were written, chain them by hash, snapshot aggregates, and give each part the least rights it needs."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# json keeps the text byte for byte; jsonb rewrote it, so no hash over what was written could be checked.
_POSTGRES = (
    "drop index events_correlation",
    """alter table events
        alter column data type json using data::text::json,
        alter column metadata type json using metadata::text::json,
        add column hash bytea""",
    "create index events_correlation on events ((metadata ->> 'correlation_id'))",
    "create index commands_recorded_at on commands (recorded_at)",
    """create table snapshots (
        stream      text        primary key,
        version     integer     not null check (version > 0),
        event_id    uuid        not null,
        fingerprint text        not null,
        checksum    text        not null,
        state       text        not null,
        taken_at    timestamptz not null default now()
    )""",
)

# Roles belong to the whole cluster: another database may have made them, and not every owner may make any.
_ROLES = """
do $$
declare
    part text;
begin
    foreach part in array array['owner', 'writer', 'relay', 'projector', 'reader'] loop
        begin
            execute format('create role %I nologin', 'sagakit_' || part);
        exception
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then raise notice 'role sagakit_% was not made: no right to', part;
        end;
    end loop;
end $$
"""

_EVERYTHING = "events, commands, snapshots, sagakit_checkpoints, sagakit_inbox, sagakit_parked, sagakit_subscriptions"
_GRANTS = (
    f"grant all on {_EVERYTHING} to sagakit_owner",
    # Nobody but the owner changes or removes an event.
    "grant select, insert on events to sagakit_writer",
    "grant select, insert, delete on commands to sagakit_writer",
    "grant select, insert, update, delete on snapshots to sagakit_writer",
    "grant select on events, sagakit_subscriptions to sagakit_relay",
    "grant select, insert, update on sagakit_checkpoints to sagakit_relay",
    "grant select on events to sagakit_projector",
    "grant select, insert, update on sagakit_checkpoints to sagakit_projector",
    "grant select, insert, delete on sagakit_inbox to sagakit_projector",
    "grant select, insert, update, delete on sagakit_parked to sagakit_projector",
    f"grant select on {_EVERYTHING} to sagakit_reader",
)
_GRANT_IF_THERE = """
do $$
begin
    {grant};
exception
    when undefined_object then null;
end $$
"""

_SQLITE = (
    "alter table events add column hash blob",
    "create index commands_recorded_at on commands (recorded_at)",
    """create table snapshots (
        stream      text    primary key,
        version     integer not null check (version > 0),
        event_id    text    not null,
        fingerprint text    not null,
        checksum    text    not null,
        state       text    not null,
        taken_at    text    not null default current_timestamp
    ) without rowid""",
)


def upgrade() -> None:
    """Apply all of it."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        statements = (*_POSTGRES, _ROLES, *(_GRANT_IF_THERE.format(grant=grant) for grant in _GRANTS))
    else:
        statements = _SQLITE
    for statement in statements:
        connection.exec_driver_sql(statement)
