"""Bring an index to the newest schema; Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from ckptd.errors import CkptdError
from ckptd.index.backing_up import back_up

#: Revisions of the schema, oldest first; each is a file in `migrations/versions`.
REVISIONS = ("0001", "0002", "0003", "0004")
#: Where they lie.
SCRIPTS = "ckptd:index/migrations"


class NewerIndexError(CkptdError):
    """The index was made by a newer ckptd; no restart helps, so that systemd is told to try none (RestartPreventExitStatus)."""

    exit_status = 5


class OlderIndexError(CkptdError):
    """The index is that of an older ckptd, which works with it just now."""

    permanent = False


def check_newest(engine: Engine, file: Path | None) -> None:
    """See that an index can be used as it is.

    Raises:
        NewerIndexError: it is of a version that this program does not know.
        OlderIndexError: its schema would have to be changed first.
    """
    with engine.connect() as connection:
        revision = _read_revision(connection)
    if revision != REVISIONS[-1]:
        _refuse_newer(revision, file)
        cure = "start the daemon again, which then is of this version and changes it; or try again, if it starts just now"
        why = "its tables are not made yet"
        if revision is not None:
            why = f"its schema {revision} is older than this program, and the daemon that runs works with it"
        raise OlderIndexError("open the index", path=file, why=why, cure=cure)


def upgrade(engine: Engine, file: Path | None) -> None:
    """Make the tables or change them to what this program knows; a copy of an older SQLite file is kept beside it.

    Raises:
        NewerIndexError: the index is of a version that this program does not know.
    """
    with engine.connect() as connection:
        revision = _read_revision(connection)
    if revision == REVISIONS[-1]:
        return
    _refuse_newer(revision, file)
    if revision is not None and file is not None and not back_up(engine, file, revision):
        upgrade(engine, file)  # another program did it in this moment, and its copy is the one that counts
        return
    _run(engine)


def is_newest(engine: Engine) -> bool:
    """Say whether an index has the newest schema, so that nothing of Alembic is needed."""
    with engine.connect() as connection:
        return _read_revision(connection) == REVISIONS[-1]


def _refuse_newer(revision: str | None, file: Path | None) -> None:
    if revision is not None and revision not in REVISIONS:
        cure = "install the newer ckptd again; docs/ops/upgrade.md says how to go back, at the worst with `ckptd reindex`"
        raise NewerIndexError("open the index", path=file, why=f"its schema {revision} is newer than this program", cure=cure)


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _run(engine: Engine) -> None:
    from alembic import command  # 60 ms and 10 MB, for the one start in a hundred that needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, REVISIONS[-1])
