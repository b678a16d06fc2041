"""The first index: contents, metrics, hyperparameters, places, outputs, audit, roots."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "contents",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("sha256", sa.String(64)),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("container", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32)),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("inspector_version", sa.Integer, nullable=False),
        sa.Column("model_name", sa.Text),
        sa.Column("dataset", sa.Text),
        sa.Column("architecture", sa.Text),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("step", sa.BigInteger),
        sa.Column("date", sa.String(64)),
        sa.Column("quantization", sa.Text),
        sa.Column("stage", sa.Text),
        sa.Column("parameters", sa.BigInteger, nullable=False),
        sa.Column("dtypes", sa.Text),
        sa.Column("inspected_at", sa.Float, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
    op.create_table(
        "metrics",
        sa.Column("content", sa.String(32), sa.ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_table(
        "hyperparameters",
        sa.Column("content", sa.String(32), sa.ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("number", sa.Float),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "places",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("path", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("content", sa.String(32), sa.ForeignKey("contents.key")),
        sa.Column("sha256", sa.String(64)),
        sa.Column("dev", sa.BigInteger, nullable=False),
        sa.Column("ino", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("ctime_ns", sa.BigInteger, nullable=False),
        sa.Column("first_seen_at", sa.Float, nullable=False),
        sa.Column("state_since", sa.Float, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        sa.UniqueConstraint("host", "root", "path"),
    )
    op.create_index("ix_places_content", "places", ["content"])
    op.create_index("ix_places_sha256", "places", ["sha256"])
    op.create_index("places_by_file", "places", ["ino", "size", "mtime_ns"])
    op.create_table(
        "outputs",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("path", sa.LargeBinary, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("written_at", sa.Float, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("what", sa.String(64), nullable=False),
        sa.Column("root", sa.LargeBinary),
        sa.Column("path", sa.LargeBinary),
        sa.Column("sha256", sa.String(64)),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_table(
        "roots",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("root", sa.LargeBinary, primary_key=True),
        sa.Column("root_id", sa.String(64)),
    )
    for statement in _KEEP_AUDIT[op.get_bind().dialect.name]:
        op.execute(statement)


#: The audit only grows; the database itself refuses anything else.  INSERT OR REPLACE deletes without asking the trigger on
#: DELETE, so it has one of its own.
_KEEP_AUDIT = {
    "sqlite": [
        f"CREATE TRIGGER audit_no_{name} BEFORE {what} BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        for name, what in {
            "update": "UPDATE ON audit",
            "delete": "DELETE ON audit",
            "replace": "INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)",
        }.items()
    ],
    "postgresql": [
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the audit is append-only'; END $$",
        "CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
        "CREATE TRIGGER audit_keep_all BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    ],
}
