"""What is remembered of exports: the exports, the recipes that fit, and which file each output of ours is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_IDENTITY = ("dev", "ino", "size", "mtime_ns", "ctime_ns")


def upgrade() -> None:
    for name in _IDENTITY:
        op.add_column("outputs", sa.Column(name, sa.BigInteger))
    op.create_table(
        "exports",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("path", sa.LargeBinary, primary_key=True),
        sa.Column("target", sa.String(64), primary_key=True),
        sa.Column("source_sha256", sa.String(64), nullable=False),
        sa.Column("settings_digest", sa.String(64), nullable=False),
        sa.Column("recipe_digest", sa.String(64)),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("file", sa.LargeBinary),
        sa.Column("sha256", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger),
        *[sa.Column(name, sa.BigInteger) for name in _IDENTITY],
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
    )
    op.create_table(
        "recipes",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("group_name", sa.Text, primary_key=True),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("at", sa.Float, nullable=False),
    )
