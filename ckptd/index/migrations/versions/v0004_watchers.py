"""What follows the audit: how far it has come, alerts that are open and what is to be sent of them, commands to be run."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "cursors",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("audit", sa.BigInteger, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(64), primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("first_at", sa.Float, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("untold", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("examples", sa.Text, nullable=False),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("told_at", sa.Float),
        sa.Column("said", sa.String(16), nullable=False),
        sa.Column("ended_at", sa.Float),
    )
    op.create_table(
        "outbox",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("channel", sa.String(32), primary_key=True),
        sa.Column("message", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("trouble", sa.Text, nullable=False),
    )
    op.create_table(
        "hook_runs",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("audit", sa.BigInteger, primary_key=True),
        sa.Column("hook", sa.String(64), primary_key=True),
    )
