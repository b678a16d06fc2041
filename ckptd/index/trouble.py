"""What a database raises, as one clear sentence; the one edge of this room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ckptd.errors import CkptdError, IndexUnavailableError


class IndexBrokenError(CkptdError):
    """The file is no index, or was damaged."""


#: What SQLite says about a file that is none of its own, or no longer whole, and about tables that are not as they were
#: made.  Source: sqlite3ErrStr in SQLite's main.c, and its parser.
_BROKEN = (
    "file is not a database",
    "malformed",
    "file is encrypted",
    "no such table",
    "no such column",
    "has no column named",
    "already exists",
    "Could not decode to UTF-8",
)
_CURES = {
    "database or disk is full": "make room on its file system; it is tried again",
    "readonly database": "give the user that runs ckptd the right to write there",
    "unable to open database file": "make the directory, or give the user that runs ckptd the right to write there",
    "database is locked": "another process holds it: see who, and end it",
    "disk I/O error": "make room, or look at the kernel's log: the disk reports an error",
}


@contextmanager
def translated(file: Path | None) -> Iterator[None]:
    """Turn what the database raises into an error that a person can act on."""
    try:
        yield
    except DBAPIError as error:
        why = str(error.orig)
        if any(word in why for word in _BROKEN):
            raise broken(file, why) from error
        cure = next((cure for word, cure in _CURES.items() if word in why), "see that the database runs and can be reached")
        raise IndexUnavailableError("use the index", path=file, why=why, cure=cure) from error
    except SQLAlchemyError as error:
        raise IndexUnavailableError("use the index", path=file, why=str(error)) from error
    except OSError as error:
        cure = "let the user that runs ckptd write there, or make room"
        raise IndexUnavailableError("use the index", path=file, why=os.strerror(error.errno or 0), cure=cure) from error


def broken(file: Path | None, why: str) -> IndexBrokenError:
    """Make the error about an index that holds what ckptd never wrote."""
    return IndexBrokenError(
        "use the index", path=file, why=why, cure="`ckptd reindex` builds it anew from the files and the journal"
    )
