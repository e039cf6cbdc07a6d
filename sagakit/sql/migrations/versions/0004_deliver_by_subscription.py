"""Give each subscription a cursor of its own, count attempts, and let operators act on what is parked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_GRANT = """
do $$
begin
    grant {rights} on {table} to sagakit_{role};
exception
    when undefined_object then null;
end $$
"""
_RIGHTS = (
    ("sagakit_checkpoints", {"relay": "select, insert, update, delete"}),
    ("sagakit_subscriptions", {"relay": "select, insert, update, delete", "reader": "select"}),
    ("sagakit_replays", {"relay": "select, insert, update", "reader": "select"}),
    ("sagakit_parked", {"relay": "select, insert, update, delete"}),
    ("sagakit_parked_actions", {"relay": "select, insert", "projector": "select, insert", "reader": "select"}),
    ("sagakit_refused", {"projector": "select, insert, update, delete", "reader": "select"}),
    ("sagakit_heads", {"projector": "select, insert, update, delete", "reader": "select"}),
    ("sagakit_consumers", {"projector": "select, insert, update, delete", "reader": "select"}),
)


def upgrade() -> None:
    """Apply all of it."""
    connection = op.get_bind()
    op.add_column("sagakit_checkpoints", sa.Column("event_id", sa.Text))
    _subscriptions(connection)
    _parking(connection)
    _consumers()
    if connection.dialect.name == "postgresql":
        for table, roles in _RIGHTS:
            for role, rights in {"owner": "all", **roles}.items():
                connection.exec_driver_sql(_GRANT.format(rights=rights, table=table, role=role))


def _subscriptions(connection: sa.Connection) -> None:
    known = connection.execute(sa.text("select consumer, event_type from sagakit_subscriptions order by 1, 2")).all()
    op.drop_table("sagakit_subscriptions")
    made = op.create_table(
        "sagakit_subscriptions",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_types", sa.JSON, nullable=False),
        sa.Column("partitions", sa.Integer, nullable=False),
        sa.Column("former_partitions", sa.Integer),
        sa.Column("backlog_limit", _BIG, nullable=False),
        sa.Column("detached_at", _BIG),
        sa.Column("trouble", sa.Text),
        sa.Column("is_external", sa.Boolean, nullable=False),
    )
    types: dict[str, list[str]] = {}
    for consumer, event_type in known:
        types.setdefault(consumer, []).append(event_type)
    for consumer, event_types in types.items():
        row = {"consumer": consumer, "event_types": event_types, "partitions": 1, "backlog_limit": 10_000, "is_external": False}
        connection.execute(made.insert().values(**row))
        # What one relay published for all of them is where each of them stands.
        connection.execute(
            sa.text(
                "insert into sagakit_checkpoints (name, position, epoch, owner, leased_until) "
                "select :name, position, epoch, '', 0 from sagakit_checkpoints where name = 'relay'"
            ),
            {"name": f"subscription {consumer}"},
        )
    connection.execute(sa.text("delete from sagakit_checkpoints where name = 'relay'"))
    op.create_table(
        "sagakit_replays",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("first", _BIG, nullable=False),
        sa.Column("last", _BIG, nullable=False),
        sa.Column("position", _BIG, nullable=False),
        sa.Column("sent", _BIG, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )


def _parking(connection: sa.Connection) -> None:
    for column in (
        sa.Column("producer", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.Text, nullable=False, server_default="parked"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.Float, nullable=False, server_default="0"),
        sa.Column("original", sa.Text),
    ):
        op.add_column("sagakit_parked", column)
    service = "message::json ->> 'service'" if connection.dialect.name == "postgresql" else "json_extract(message, '$.service')"
    connection.execute(sa.text(f"update sagakit_parked set producer = {service}"))  # noqa: S608 no value in it
    connection.execute(
        sa.text("update sagakit_parked set state = 'behind' where reason = 'waits behind an earlier event of its stream'")
    )
    op.create_index("sagakit_parked_order", "sagakit_parked", ["consumer", "producer", "stream", "version"])
    op.create_index("sagakit_parked_due", "sagakit_parked", ["consumer", "state", "due_at"])
    op.create_table(
        "sagakit_parked_actions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False, index=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "sagakit_refused",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False, index=True),
        sa.Column("message_id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body_excerpt", sa.Text, nullable=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
    )


def _consumers() -> None:
    op.create_index("sagakit_inbox_handled_at", "sagakit_inbox", ["handled_at"])
    op.create_table(
        "sagakit_heads",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("producer", sa.Text, primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("effects", _BIG, nullable=False),
    )
    op.create_table(
        "sagakit_consumers",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("partitions", sa.JSON, nullable=False),
        sa.Column("paused_by", sa.Text),
        sa.Column("repeats", _BIG, nullable=False),
        sa.Column("forgotten", _BIG, nullable=False),
    )
