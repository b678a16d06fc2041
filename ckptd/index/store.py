"""The index: what is known, written in transactions by one loop and read by anybody.

Start at `Store.open`.  Everything that changes goes through `Store.batch`; questions of people are in `queries`.
SQLite runs in WAL mode, so that a command reads while the daemon writes, with synchronous=NORMAL: after a power cut the
last commits may be gone, never torn, and the next reconcile repeats them.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, func, select, tuple_
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ckptd.errors import CkptdError, IndexUnavailableError
from ckptd.index import queries
from ckptd.index.batch import Batch
from ckptd.index.migrate import upgrade
from ckptd.index.payload import inspection_of
from ckptd.index.tables import contents, outputs, places, roots
from ckptd.model import Identity, Inspection, PlaceState, RawIdentity, Record

#: How long a writer waits for another one, milliseconds.
_BUSY_MS = 5_000
#: Identities in one statement; SQLite takes at most 32,766 variables.
_CHUNK = 200


class IndexBrokenError(CkptdError):
    """The file is no index, or was damaged."""


class KnownPlace(NamedTuple):
    """A place as the index has it; as lean as a hundred thousand of them must be."""

    id: int
    identity: RawIdentity
    state: str
    sha256: str | None

    @property
    def is_missing(self) -> bool:
        """Say whether the file was gone when it was last looked for."""
        return self.state == PlaceState.MISSING

    @property
    def is_settled(self) -> bool:
        """Say whether nothing more is to be done for this file as it was."""
        return self.state in (PlaceState.READY, PlaceState.REJECTED, PlaceState.MISSING)


class Recalled(NamedTuple):
    """A content that the index knows for a file.

    Attributes:
        inspection: as it was recorded.
        root, path: where it was.
        is_exact: False when only the ctime differs: moved, linked or chmod-ed, or written to by somebody who set the clock.
    """

    inspection: Inspection
    root: str
    path: str
    is_exact: bool


class Store:
    """One index; use it from one thread.

    Args:
        engine: of SQLAlchemy.
        file: of the SQLite index, None for a server.
    """

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self.engine = engine
        self.file = file
        self.host = platform.node()
        self.run = uuid.uuid4().hex[:12]
        self._first_seen: Mapping[tuple[str, str], float] = {}

    @classmethod
    def open(cls, where: str | os.PathLike[str]) -> Store:
        """Open an index and bring it to the newest schema.

        Args:
            where: a path (SQLite) or a database URL.

        Raises:
            IndexUnavailableError: it cannot be opened just now.
            IndexBrokenError: what lies there is no index.
            NewerIndexError: a newer ckptd made it.
        """
        text = os.fspath(where)
        file = None if "://" in text else Path(text)
        engine = create_engine(text if file is None else f"sqlite:///{file}")
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        with _translated(file):
            upgrade(engine, file)
            if file is not None:
                file.chmod(0o600)
        return cls(engine, file)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    def finish(self) -> None:
        """Fold the write-ahead log into the file, so that the file alone is the index."""
        with self._reading() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    # — writing —

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Write in one transaction; at an exception nothing of it is written.

        Raises:
            IndexUnavailableError: the disk is full, the file is locked: worth another try.
        """
        with _translated(self.file), self.engine.begin() as connection:
            batch = Batch(connection, self.host, self.run, self._first_seen)
            yield batch
            batch.flush()

    def save_root(self, root: str, root_id: str | None) -> None:
        """Remember the id of a root."""
        with self.batch() as batch:
            batch.save_root(root, root_id)

    def import_first_seen(self, first_seen: Mapping[tuple[str, str], float]) -> None:
        """Say when places were first seen; for those that a scan is about to find."""
        self._first_seen = dict(first_seen)

    # — reading —

    def load_root(self, root: str) -> tuple[str | None, int]:
        """Give the id of a root and how many files are known in it and not missing."""
        ours = (places.c.host == self.host) & (places.c.root == os.fsencode(root))
        with self._reading() as connection:
            query = select(roots.c.root_id).where(roots.c.host == self.host, roots.c.root == os.fsencode(root))
            root_id = connection.scalar(query)
            files = connection.scalar(select(func.count()).where(ours, places.c.state != PlaceState.MISSING.value))
        return root_id, int(files or 0)

    def load_places(self, root: str, below: str = "") -> dict[str, KnownPlace]:
        """Give every known place of a root, or of a directory in it: relative path → place."""
        where = [places.c.host == self.host, places.c.root == os.fsencode(root)]
        if below:
            where += [places.c.path >= os.fsencode(below + "/"), places.c.path < os.fsencode(below + "0")]
        c = places.c
        query = select(c.path, c.id, c.state, c.content, c.dev, c.ino, c.size, c.mtime_ns, c.ctime_ns).where(*where)
        decode = os.fsdecode
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        return {
            decode(path): KnownPlace(number, (dev, ino, size, mtime, ctime), state, content)
            for path, number, state, content, dev, ino, size, mtime, ctime in rows
        }

    def find_place(self, root: str, path: str) -> KnownPlace | None:
        """Give one known place."""
        c = places.c
        query = select(c.id, c.state, c.content, c.dev, c.ino, c.size, c.mtime_ns, c.ctime_ns)
        with self._reading() as connection:
            row = connection.execute(query.where(*self._at(root, path))).first()
        return None if row is None else KnownPlace(row[0], tuple(row[3:8]), row[1], row[2])

    def find_places_by_stem(self, root: str, sidecar: str) -> list[str]:
        """Give the known places whose sidecar may bear this name."""
        directory, _, name = sidecar.rpartition("/")
        stem = name.removesuffix("_metadata.json").removesuffix(".ckptd.json")
        prefix = os.fsencode(f"{directory}/{stem}" if directory else stem)
        c = places.c
        query = select(c.path).where(
            c.host == self.host, c.root == os.fsencode(root), c.path >= prefix, c.path < prefix + b"\xff", c.state != "missing"
        )
        with self._reading() as connection:
            found = [os.fsdecode(path) for path in connection.scalars(query.limit(100))]
        return [path for path in found if path == f"{directory}/{stem}".lstrip("/") or path[len(os.fsdecode(prefix)) :].startswith(".")]

    def find_contents(self, identities: Sequence[Identity]) -> dict[Identity, list[Recalled]]:
        """Give what is known of files by their identity, so that nothing is read twice."""
        found: dict[Identity, list[Recalled]] = {}
        wanted = {(i.ino, i.size_bytes, i.mtime_ns): i for i in identities}
        c = places.c
        query = (
            select(c.root, c.path, c.dev, c.ino, c.size, c.mtime_ns, c.ctime_ns, contents.c.payload)
            .join(contents, contents.c.key == c.content)
            .where(contents.c.sha256.is_not(None), c.host == self.host)
            .where(tuple_(c.ino, c.size, c.mtime_ns).in_(bindparam("files", expanding=True)))
        )
        keys = list(wanted)
        with self._reading() as connection:
            for start in range(0, len(keys), _CHUNK):
                for row in connection.execute(query, {"files": keys[start : start + _CHUNK]}):
                    identity = wanted[row.ino, row.size, row.mtime_ns]
                    if row.dev == identity.dev:
                        is_exact = row.ctime_ns == identity.ctime_ns
                        recalled = Recalled(inspection_of(row.payload), os.fsdecode(row.root), os.fsdecode(row.path), is_exact)
                        found.setdefault(identity, []).append(recalled)
        return found

    def find_record(self, root: str, path: str) -> Record | None:
        """Give the record of one place."""
        with self._reading() as connection:
            found = queries.select_records(connection, self.host, places.c.path == os.fsencode(path), root=os.fsencode(root))
        return found[0] if found else None

    def records(self, wanted: queries.Filter | None, *, sort: str, reverse: bool, limit: int | None) -> list[Record]:
        """Give the records that match, sorted; what has no value to sort by comes last.

        Raises:
            UsageError: nothing is sorted by that.
        """
        with self._reading() as connection:
            return queries.find_sorted(connection, self.host, wanted, sort=sort, reverse=reverse, limit=limit)

    def find_named(self, name: str) -> list[Record]:
        """Give the records that a name may mean, the strictest meaning first: id, path, file name, stem, digest prefix."""
        with self._reading() as connection:
            return queries.find_named(connection, self.host, name)

    def best(self, names: Sequence[str], *, mode: str, group: str | None) -> list[Record]:
        """Give the best readable record of each group by the first of the metrics that it has."""
        with self._reading() as connection:
            return queries.find_best(connection, self.host, names, mode=mode, group=group)

    def own_outputs(self, root: str) -> dict[str, str]:
        """Give what we wrote below a root: relative path → digest."""
        query = select(outputs.c.path, outputs.c.sha256).where(outputs.c.host == self.host, outputs.c.root == os.fsencode(root))
        with self._reading() as connection:
            return {os.fsdecode(path): digest for path, digest in connection.execute(query)}

    def check_integrity(self) -> str | None:
        """Say what is wrong with the file, None when it is whole."""
        try:
            with self._reading() as connection:
                if connection.dialect.name != "sqlite":
                    return None
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        except CkptdError as error:
            return str(error)
        return None if found == "ok" else found

    def _at(self, root: str, path: str) -> tuple[Any, ...]:
        return places.c.host == self.host, places.c.root == os.fsencode(root), places.c.path == os.fsencode(path)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(self.file), self.engine.connect() as connection:
            yield connection


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


#: What SQLite says about a file that is none of its own, or no longer whole.
_BROKEN = ("file is not a database", "malformed", "file is encrypted", "no such table", "no such column")


@contextmanager
def _translated(file: Path | None) -> Iterator[None]:
    """Turn what the database raises into one clear sentence."""
    try:
        yield
    except DBAPIError as error:
        why = str(error.orig)
        if any(word in why for word in _BROKEN):
            cure = "`ckptd reindex` builds it anew from the files and the journal"
            raise IndexBrokenError("use the index", path=file, why=why, cure=cure) from error
        raise IndexUnavailableError("use the index", path=file, why=why, cure="make room, or see who holds it") from error
    except SQLAlchemyError as error:
        raise IndexUnavailableError("use the index", path=file, why=str(error)) from error
