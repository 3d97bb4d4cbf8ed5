"""Alembic's entry: runs on the connection, and in the transaction, that `migrate` gives."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
