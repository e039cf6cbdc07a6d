"""Alembic's entry: runs the migrations on the connection that `sagakit.sql.migrate` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="sagakit_schema")
with context.begin_transaction():
    context.run_migrations()
