"""Retention, archives, scrubbing and the runs of jobs; pins, tags and aliases."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "traits",
        sa.Column("content", sa.String(32), sa.ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("model_confidence", sa.Float, nullable=False),
        sa.Column("optimizer_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "marks",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("path", sa.LargeBinary, primary_key=True),
        sa.Column("sha256", sa.String(64), index=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
    )
    op.create_table(
        "derivations",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("source_sha256", sa.String(64), primary_key=True),
        sa.Column("how", sa.String(32), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "groupings",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("path", sa.LargeBinary, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("group_name", sa.Text),
        sa.Column("decided", sa.Text),
    )
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.LargeBinary, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("group_name", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False, index=True),
    )
    op.create_table(
        "archives",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("directory", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.LargeBinary, nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("verified_at", sa.Float, nullable=False),
        sa.Column("drilled_at", sa.Float),
        sa.UniqueConstraint("host", "directory", "name"),
    )
    op.create_table(
        "archive_members",
        sa.Column("archive", sa.Integer, sa.ForeignKey("archives.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.LargeBinary, primary_key=True),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.LargeBinary, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, index=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("is_lost", sa.Integer, nullable=False),
    )
    op.create_table(
        "checks",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("path", sa.LargeBinary, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
    )
    op.create_table(
        "job_runs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("scheduled_for", sa.Float),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
    )
    op.create_index("job_runs_by_job", "job_runs", ["host", "job", "started_at"])
    op.create_table(
        "freezes",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
