"""Bring an index to the newest schema; Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from ckptd.errors import CkptdError

#: Revisions of the schema, oldest first; each is a file in `migrations/versions`.
REVISIONS = ("0001", "0002", "0003")
#: Where they lie.
SCRIPTS = "ckptd:index/migrations"


class NewerIndexError(CkptdError):
    """The index was made by a newer ckptd."""


def upgrade(engine: Engine, file: Path | None) -> None:
    """Make the tables or change them to what this program knows; a copy of an older SQLite file is kept beside it.

    Raises:
        NewerIndexError: the index is of a version that this program does not know.
    """
    with engine.connect() as connection:
        revision = _read_revision(connection)
    if revision == REVISIONS[-1]:
        return
    if revision is not None and revision not in REVISIONS:
        cure = "install the newer ckptd again, or move the index away and run `ckptd reindex`"
        raise NewerIndexError("open the index", path=file, why=f"its schema {revision} is newer than this program", cure=cure)
    if revision is not None and file is not None:
        _back_up(engine, file.with_name(f"{file.name}.{revision}.bak"))
    _run(engine)


def is_newest(engine: Engine) -> bool:
    """Say whether an index has the newest schema, so that nothing of Alembic is needed."""
    with engine.connect() as connection:
        return _read_revision(connection) == REVISIONS[-1]


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _back_up(engine: Engine, copy: Path) -> None:
    copy.unlink(missing_ok=True)  # of an upgrade that was killed
    with engine.execution_options(begin="").connect() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(copy),))
    copy.chmod(0o600)


def _run(engine: Engine) -> None:
    from alembic import command  # 60 ms and 10 MB, for the one start in a hundred that needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
