"""The tables of the index: contents by digest, places by path, so that a copy is one content in two places.

Everything here can be built anew from checkpoints, sidecars and the journal.  Paths are bytes, as the operating system
has them; times are seconds since the epoch, UTC; sizes are bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

#: What is known of one content, described in one way.  The bytes are `sha256`; but a name and a person's metadata file say
#: something too, so that two copies of one file under two names may have two rows.  `key` is the digest of the row's own
#: JSON: a row never changes, and goes when no place refers to it any more.
contents = Table(
    "contents",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("sha256", String(64)),
    Column("status", String(32), nullable=False),
    Column("container", String(32), nullable=False),
    Column("kind", String(32)),
    Column("size", BigInteger, nullable=False),
    Column("inspector_version", Integer, nullable=False),
    Column("model_name", Text),
    Column("dataset", Text),
    Column("architecture", Text),
    Column("epoch", BigInteger),
    Column("step", BigInteger),
    Column("date", String(64)),
    Column("quantization", Text),
    Column("stage", Text),
    Column("parameters", BigInteger, nullable=False),
    # Every dtype between two spaces, " float16 float32 ", so that one is found by its name.
    Column("dtypes", Text),
    Column("inspected_at", Float, nullable=False),
    # See `payload`.  The long part is the last column, so that a listing never reads its pages.
    Column("payload", Text, nullable=False),
    Column("details", Text, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("content", ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("value", Float, nullable=False),
)

#: What every plan asks of each content, out of its payload; a content that an older ckptd wrote down has no row here.
traits = Table(
    "traits",
    metadata,
    Column("content", ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
    Column("model_confidence", Float, nullable=False),
    Column("optimizer_bytes", BigInteger, nullable=False),
)

#: What can be asked for as `hp.NAME`: plain values only; a nested one under its dotted name.
hyperparameters = Table(
    "hyperparameters",
    metadata,
    Column("content", ForeignKey("contents.key", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("number", Float),
    Column("text", Text, nullable=False),
)

#: One row for each (host, root, path); dev … ctime_ns are the file's identity as it was last seen.
places = Table(
    "places",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", String(255), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("content", ForeignKey("contents.key"), index=True),
    Column("sha256", String(64), index=True),
    # Device and inode numbers are unsigned 64 bits, columns are signed: see `signed` and `unsigned`.
    Column("dev", BigInteger, nullable=False),
    Column("ino", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("ctime_ns", BigInteger, nullable=False),
    Column("first_seen_at", Float, nullable=False),
    Column("state_since", Float, nullable=False),
    # The path as people read it: escaped, for questions and for order.
    Column("shown", Text, nullable=False),
    UniqueConstraint("host", "root", "path"),
    Index("places_by_file", "ino", "size", "mtime_ns"),
)

#: Files that we wrote ourselves.
outputs = Table(
    "outputs",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("what", String(32), nullable=False),
    Column("written_at", Float, nullable=False),
    # Of the file as it was put in place; exports have it, sidecars do without.
    Column("dev", BigInteger),
    Column("ino", BigInteger),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("ctime_ns", BigInteger),
)

#: What became of each export of a checkpoint, the last word for each target; docs/exports.md has the verdicts.  A row speaks
#: of the content `source_sha256`: when another one lies at the place, the export is to be made again.
exports = Table(
    "exports",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("target", String(64), primary_key=True),
    Column("source_sha256", String(64), nullable=False),
    Column("settings_digest", String(64), nullable=False),
    Column("recipe_digest", String(64)),
    Column("verdict", String(16), nullable=False),
    # The name beside the checkpoint.
    Column("file", LargeBinary),
    Column("sha256", String(64)),
    Column("size_bytes", BigInteger),
    # Of that file as it was put in place.
    Column("dev", BigInteger),
    Column("ino", BigInteger),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("ctime_ns", BigInteger),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("proof", Text, nullable=False),
)

#: Recipes that fit, one for each group, which is the escaped name of a model; `sha256` is the content that it was learnt on.
recipes = Table(
    "recipes",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("group_name", Text, primary_key=True),
    Column("recipe", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("sha256", String(64)),
    Column("at", Float, nullable=False),
)

#: What people said about checkpoints: pins, tags and aliases.  A mark speaks of the content `sha256` wherever it lies, and a
#: pin also of whatever lies at its place.  `name` is "" for a pin.
marks = Table(
    "marks",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("sha256", String(64), index=True),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
)

#: Contents that ckptd made out of others: a slimmed checkpoint and what it was.
derivations = Table(
    "derivations",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("source_sha256", String(64), primary_key=True),
    Column("how", String(32), nullable=False),
    Column("at", Float, nullable=False),
)

#: Which group each content at each place was taken for, so that another reading of its name is seen and held; and what was
#: decided about it last, so that the audit has a line when that changes and not each night.
groupings = Table(
    "groupings",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("group_name", Text),
    Column("decided", Text),
)

#: Checkpoints that a policy took away; the brake counts those of the last days.
removals = Table(
    "removals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", String(255), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("sha256", String(64)),
    Column("group_name", Text),
    Column("size", BigInteger, nullable=False),
    Column("action", String(16), nullable=False),
    Column("at", Float, nullable=False, index=True),
)

#: Archives, each in a directory; `name` is the file's.  `state` is verified, damaged or missing.
archives = Table(
    "archives",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", String(255), nullable=False),
    Column("directory", LargeBinary, nullable=False),
    Column("name", LargeBinary, nullable=False),
    Column("format", String(32), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("verified_at", Float, nullable=False),
    Column("drilled_at", Float),
    UniqueConstraint("host", "directory", "name"),
)

#: What lies in an archive: where it came from and what it is.
archive_members = Table(
    "archive_members",
    metadata,
    Column("archive", ForeignKey("archives.id", ondelete="CASCADE"), primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("what", String(32), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("is_lost", Integer, nullable=False),
)

#: When the bytes of each place were last read again and compared with its digest.
checks = Table(
    "checks",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
)

#: Each run of each job.  `outcome` is running, ok, failed, held or interrupted; `scheduled_for` is NULL for a run by hand.
job_runs = Table(
    "job_runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("host", String(255), nullable=False),
    Column("job", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("scheduled_for", Float),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Index("job_runs_by_job", "host", "job", "started_at"),
)

#: Why jobs that take something away stand still until a person says so ("reindexed").
freezes = Table(
    "freezes",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("why", Text, nullable=False),
    Column("at", Float, nullable=False),
)

#: Every event, for ever: rows are added and never changed (a trigger refuses it).
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("what", String(64), nullable=False),
    Column("root", LargeBinary),
    Column("path", LargeBinary),
    Column("sha256", String(64)),
    Column("job", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("why", Text, nullable=False),
)

#: How far those have come that follow the audit: the number of the last row that was looked at.  `since` is when that began.
cursors = Table(
    "cursors",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("audit", BigInteger, nullable=False),
    Column("since", Float, nullable=False),
)

#: Alerts that are open, or ended a moment ago; see `notify.folding`.  All text is escaped; `examples` is a JSON list.
alerts = Table(
    "alerts",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("untold", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("examples", Text, nullable=False),
    Column("mark", String(64), nullable=False),
    Column("told", Integer, nullable=False),
    Column("told_at", Float),
    Column("said", String(16), nullable=False),
    Column("ended_at", Float),
)

#: Messages that a channel has not taken yet; `message` is the id by which a receiver drops doubles, `body` JSON.
outbox = Table(
    "outbox",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("channel", String(32), primary_key=True),
    Column("message", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("trouble", Text, nullable=False),
)

#: Commands of hooks that are to be run for rows of the audit, or run just now; a row goes when its command has ended.
hook_runs = Table(
    "hook_runs",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("audit", BigInteger, primary_key=True),
    Column("hook", String(64), primary_key=True),
)

#: One row for each root: its id, see `watch.guard`.
roots = Table(
    "roots",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("root", LargeBinary, primary_key=True),
    Column("root_id", String(64)),
)


def signed(number: int) -> int:
    """Give the two's complement of an unsigned 64-bit number, as a column holds it."""
    return number if number < 1 << 63 else number - (1 << 64)


def unsigned(number: int) -> int:
    """Give the number back that `signed` put away."""
    return number if number >= 0 else number + (1 << 64)


def bounded(number: int) -> int:
    """Keep a time within what a column holds: some file systems take years beyond 2262, and none was ever true."""
    return min(max(number, -(1 << 63)), (1 << 63) - 1)
