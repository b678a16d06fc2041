"""Keep a copy of an index as it is, before its schema is changed: the way back to the older program (docs/ops/upgrade.md).

The copy is written beside the index under a name that nobody reads, looked through, synced, and renamed: a file that ends in
`.bak` is whole.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ckptd.errors import IndexUnavailableError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def backup_path(file: Path, revision: str) -> Path:
    """Give the place of the copy of an index of some schema."""
    return file.with_name(f"{file.name}.{revision}.bak")


def is_unfinished_backup(name: str) -> bool:
    """Say whether a file name is that of a copy in the making, or of one whose maker was killed."""
    return re.fullmatch(r"\..+\.bak\.\d+\.tmp", name) is not None


def back_up(engine: Engine, file: Path, revision: str) -> bool:
    """Copy a SQLite index of a schema; False when another program changed its schema meanwhile, and then nothing is kept.

    A copy that an earlier upgrade from this schema left is replaced: somebody went back and on since.

    Raises:
        IndexUnavailableError: the disk said no; the index is as it was, and it is worth another try.
    """
    copy = backup_path(file, revision)
    _clear(copy)
    fresh = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(fresh, _NEW, 0o600))  # SQLite takes an empty file as it is, and so it is never open to others
        _copy(engine, fresh)
        if _read_revision(fresh) != revision:
            return False
        _sync(fresh)
        fresh.replace(copy)
        _sync(copy.parent)
    except (OSError, DBAPIError, sqlite3.Error) as error:
        raise _trouble(copy, error) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
    return True


def _copy(engine: Engine, to: Path) -> None:
    with engine.execution_options(begin="").connect() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(to),))


def _read_revision(copy: Path) -> str | None:
    """Read the schema of a copy that is whole.

    Raises:
        sqlite3.DatabaseError: it is not.
    """
    with closing(sqlite3.connect(copy)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _clear(copy: Path) -> None:
    """Remove what makers left that are no more: on a full disk its room is what this one needs."""
    for name in os.listdir(copy.parent):
        if is_unfinished_backup(name) and not _is_alive(int(name.split(".")[-2])):
            with suppress(OSError):
                copy.with_name(name).unlink()


def _is_alive(pid: int) -> bool:
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _trouble(copy: Path, error: OSError | DBAPIError | sqlite3.Error) -> IndexUnavailableError:
    why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(getattr(error, "orig", error))
    cure = "make room there, as much as the index takes; nothing was changed, and the next start tries again"
    return IndexUnavailableError("keep a copy of the index before its schema is changed", path=copy, why=why, cure=cure)
