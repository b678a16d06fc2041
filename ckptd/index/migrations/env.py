"""Run migrations on the connection that `ckptd.index.migrate` hands over; there is no alembic.ini."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
