"""Record commands whose handler raised what nobody expected, with the stream version they met."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_GRANT = """
do $$
begin
    grant {rights} on sagakit_failed_commands to sagakit_{role};
exception
    when undefined_object then null;
end $$
"""


def upgrade() -> None:
    """Create the table, and give each role its part."""
    op.create_table(
        "sagakit_failed_commands",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("fields_json", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("exception", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False, index=True),
        sa.Column("causation_id", sa.Text),
        sa.Column("command_key", sa.Text),
        sa.Column("actor", sa.Text),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mask_key", sa.Text, nullable=False),
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for role, rights in (("owner", "all"), ("writer", "select, insert"), ("reader", "select")):
            connection.exec_driver_sql(_GRANT.format(role=role, rights=rights))
