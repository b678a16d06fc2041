"""The index: what is known, written in transactions by one loop and read by anybody.

Start at `Store.open`.  Everything that changes goes through `Store.batch`; questions of people are in `queries`.
SQLite runs in WAL mode, so that a command reads while the daemon writes, with synchronous=NORMAL: after a power cut the
last commits may be gone, never torn, and the next reconcile repeats them.
"""

from __future__ import annotations

import errno
import os
import platform
import stat
import uuid
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, func, select, tuple_

from ckptd.errors import CkptdError, IndexUnavailableError, WorkerError
from ckptd.index import exported, queries
from ckptd.index.batch import Batch
from ckptd.index.connecting import open_engine, sqlite_url
from ckptd.index.known import (
    KnownPlace,
    Recalled,
    load_gone_identities,
    load_present_identities,
    load_root_places,
    load_some_places,
)
from ckptd.index.migrate import check_newest, is_newest, upgrade
from ckptd.index.payload import inspection_of
from ckptd.index.tables import bounded, contents, exports, outputs, places, roots, signed
from ckptd.index.trouble import IndexBrokenError, broken, translated
from ckptd.model import GONE_STATES, Identity, PlaceState, RawIdentity, Record, Status
from ckptd.proof import Export, Recipe

__all__ = ["Batch", "IndexBrokenError", "KnownPlace", "Recalled", "Store"]

_Answer = TypeVar("_Answer")
_GONE = [state.value for state in GONE_STATES]
#: Identities in one statement; SQLite takes at most 32,766 variables.
_CHUNK = 200


class Store:
    """One index; use it from one thread.

    Args:
        engine: of SQLAlchemy.
        file: of the SQLite index, None for a server.
        file_id: device and inode of that file, as it was opened.

    Attributes:
        host: name of this machine, for who is told something.
        owner: the name under which its rows stand, see `_find_owner`.
    """

    def __init__(self, engine: Engine, file: Path | None, file_id: tuple[int, int] | None = None) -> None:
        self.engine = engine
        self.file = file
        self.file_id = file_id
        self.host = platform.node()
        self.owner = self.host if file is None else _find_owner(engine, self.host)
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
        return cls._open(where, upgrade)

    @classmethod
    def open_as_it_is(cls, where: str | os.PathLike[str]) -> Store:
        """Open an index that another process works with; only that one may make it or change its schema.

        Args:
            where: as `open`.

        Raises:
            OlderIndexError: its schema would have to be changed.
            IndexUnavailableError: there is none; and as `open`.
            CkptdError: as `open`.
        """
        return cls._open(where, check_newest, may_make=False)

    @classmethod
    def open_to_look(cls, file: Path) -> Store:
        """Open an index that may be another user's, as it is and only for reading.

        Args:
            file: of SQLite; what is a link, a pipe or the like is refused.

        Raises:
            OlderIndexError: its schema would have to be changed.
            CkptdError: as `open`.
        """
        with translated(file):
            _check_regular(file, file.lstat())
            engine = open_engine(sqlite_url(file, "ro"))
            try:
                check_newest(engine, file)
                return cls(engine, file)
            except BaseException:
                engine.dispose()
                raise

    @classmethod
    def _open(
        cls, where: str | os.PathLike[str], prepare: Callable[[Engine, Path | None], None], *, may_make: bool = True
    ) -> Store:
        text = os.fspath(where)
        file = None if "://" in text else Path(text)
        with translated(file):
            file_id = None if file is None else _keep_private(file, may_make=may_make)
            engine = open_engine(text if file is None else sqlite_url(file))
            try:
                prepare(engine, file)
                return cls(engine, file, file_id)
            except BaseException:
                engine.dispose()
                raise

    @classmethod
    def is_newest(cls, file: Path) -> bool:
        """Say whether a file holds an index that can be opened as it is, without a migration."""
        if not file.exists():
            return False
        engine = open_engine(sqlite_url(file))
        try:
            with translated(file):
                return is_newest(engine)
        except CkptdError:  # it is told where it is opened
            return True
        finally:
            engine.dispose()

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    def finish(self) -> None:
        """Fold the write-ahead log into the file, so that the file alone is the index."""
        if self.engine.dialect.name != "sqlite":
            return
        with translated(self.file), self.engine.execution_options(begin="").connect() as connection:
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar()
        if busy:
            why = "another process reads it"
            raise IndexUnavailableError("finish the index", path=self.file, why=why, cure="end it and try again")

    # — writing —

    @contextmanager
    def batch(self, *, waits: bool = True) -> Iterator[Batch]:
        """Write in one transaction; at an exception nothing of it is written.

        Args:
            waits: for another process that writes just now, some seconds; who ends has no time for that.

        Raises:
            IndexUnavailableError: the disk is full, the file is locked: worth another try.
        """
        options: Mapping[str, Any] = {"begin": "BEGIN IMMEDIATE", "waits": waits}
        with translated(self.file), self.engine.execution_options(**options).begin() as connection:
            batch = Batch(connection, self.owner, self.run, self._first_seen)
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

    def ask(self, question: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Give what `question(connection, host, *arguments)` answers: marks, archives and runs have functions of their own."""
        with self._reading() as connection:
            return question(connection, self.owner, *arguments)

    def knows_roots(self) -> bool:
        """Tell whether any root of this host was ever written down: where none was, the index is new to it, whoever made it."""
        with self._reading() as connection:
            return connection.scalar(select(roots.c.root).where(roots.c.host == self.owner).limit(1)) is not None

    def load_root(self, root: str) -> tuple[str | None, int]:
        """Give the id of a root and how many files are known in it and not missing."""
        with self._reading() as connection:
            query = select(roots.c.root_id).where(roots.c.host == self.owner, roots.c.root == os.fsencode(root))
            root_id = connection.scalar(query)
            files = connection.scalar(select(func.count()).where(*self._in(root), places.c.state.not_in(_GONE)))
        return root_id, int(files or 0)

    def load_places(self, root: str, below: str = "") -> dict[str, KnownPlace]:
        """Give every known place of a root, or of a directory in it: relative path → place."""
        with self._reading() as connection:
            if not below:
                return load_root_places(connection, self.owner, os.fsencode(root))
            c, (first, behind) = places.c, (os.fsencode(below + "/"), os.fsencode(below + "0"))
            return load_some_places(connection, (*self._in(root), c.path >= first, c.path < behind))

    def load_identities(self, root: str) -> dict[str, RawIdentity]:
        """Give the identity of every known place of a root that is not known as gone; the leanest way to compare."""
        with self._reading() as connection:
            return load_present_identities(connection, self.owner, os.fsencode(root))

    def load_gone(self, root: str, paths: Container[str]) -> dict[str, RawIdentity]:
        """Give those places among some that are known as gone, each with the identity of the file that lay there."""
        with self._reading() as connection:
            return load_gone_identities(connection, self.owner, os.fsencode(root), paths)

    def find_place(self, root: str, path: str) -> KnownPlace | None:
        """Give one known place."""
        with self._reading() as connection:
            return load_some_places(connection, self._at(root, path)).get(path)

    def find_with_status(self, root: str, statuses: Collection[Status]) -> list[str]:
        """Give the places that are not missing and whose content has one of these statuses."""
        c = places.c
        query = select(c.path).join(contents, contents.c.key == c.content)
        query = query.where(*self._in(root), c.state.not_in(_GONE))
        with self._reading() as connection:
            found = connection.scalars(
                query.where(contents.c.status.in_([status.value for status in statuses])).order_by(c.path)
            )
            return [os.fsdecode(path) for path in found]

    def find_places_by_stem(self, root: str, sidecar: str) -> list[str]:
        """Give the known places whose sidecar may bear this name."""
        directory, _, name = sidecar.rpartition("/")
        stem = name.removesuffix("_metadata.json").removesuffix(".ckptd.json")
        path = os.fsencode(f"{directory}/{stem}" if directory else stem)
        c = places.c
        named = (c.path == path) | ((c.path > path + b".") & (c.path < path + b"/"))  # "/" is what comes after "."
        query = select(c.path).where(*self._in(root), named, c.state.not_in(_GONE))
        with self._reading() as connection:
            return [
                os.fsdecode(found) for found in connection.scalars(query.order_by(c.path)) if b"/" not in found[len(path) :]
            ]

    def find_contents(
        self, identities: Sequence[Identity], *, unnumbered: Collection[str] = ()
    ) -> dict[Identity, list[Recalled]]:
        """Give what is known of files by their identity, so that nothing is read twice.

        Args:
            identities: of files that are there now.
            unnumbered: roots on network file systems, whose device numbers change from mount to mount: what is known there
                is found by the rest of the identity, and the caller sees by `root` that it means the file's own.
        """
        wanted: dict[tuple[int, int, int], list[Identity]] = {}
        for identity in identities:
            wanted.setdefault((signed(identity.ino), identity.size_bytes, bounded(identity.mtime_ns)), []).append(identity)
        found: dict[Identity, list[Recalled]] = {}
        keys = list(wanted)
        with self._reading() as connection:
            for start in range(0, len(keys), _CHUNK):
                for row in connection.execute(_CONTENTS, {"host": self.owner, "files": keys[start : start + _CHUNK]}):
                    for identity in wanted[row.ino, row.size, row.mtime_ns]:
                        if signed(identity.dev) == row.dev or os.fsdecode(row.root) in unnumbered:
                            _recall(found.setdefault(identity, []), row, identity)
        return {identity: recalled for identity, recalled in found.items() if recalled}

    def find_record(self, root: str, path: str, *, with_copies: bool = True) -> Record | None:
        """Give the record of one place.

        Args:
            root: of the place.
            path: relative to it.
            with_copies: name the others of the same content; for each of a thousand equal files that is a thousand.
        """
        where = places.c.path == os.fsencode(path)
        with self._reading() as connection:
            found = queries.select_records(connection, self.owner, where, os.fsencode(root), with_copies=with_copies)
        return found[0] if found else None

    def records(self, wanted: queries.Filter | None, *, sort: str, reverse: bool, limit: int | None) -> list[Record]:
        """Give the records that match, sorted; what has no value to sort by comes last.

        They are without the tensors one by one and without layers: a listing of many would be too much for any memory.

        Raises:
            UsageError: nothing is sorted by that.
        """
        with self._reading() as connection:
            return queries.find_sorted(connection, self.owner, wanted, sort=sort, reverse=reverse, limit=limit)

    def find_named(self, name: str) -> list[Record]:
        """Give the records that a name may mean, the strictest meaning first: id, path, file name, stem, digest prefix."""
        with self._reading() as connection:
            return queries.find_named(connection, self.owner, name)

    def best(self, names: Sequence[str], *, mode: str, group: str | None) -> list[Record]:
        """Give the best readable record of each group by the first of the metrics that it has."""
        with self._reading() as connection:
            return queries.find_best(connection, self.owner, names, mode=mode, group=group)

    def own_outputs(self, root: str) -> dict[str, str]:
        """Give what we wrote below a root: relative path → digest."""
        query = select(outputs.c.path, outputs.c.sha256).where(
            outputs.c.host == self.owner, outputs.c.root == os.fsencode(root)
        )
        with self._reading() as connection:
            return {os.fsdecode(path): digest for path, digest in connection.execute(query)}

    def load_exports(self, root: str, path: str) -> list[Export]:
        """Give what became of the exports of one place, by target; of whatever content lay there when they were made."""
        c = exports.c
        where = (c.host == self.owner, c.root == os.fsencode(root), c.path == os.fsencode(path))
        with self._reading() as connection:
            return exported.load_exports(connection, where)

    def find_exporters(self, root: str, file: str, checkpoint: str) -> list[str]:
        """Give the checkpoints that are there, but for one, and that a file is known as an export of.

        Args:
            root: where they lie.
            file: path of the export, relative to the root.
            checkpoint: path of the one that is left out.
        """
        above, slash, name = file.rpartition("/")
        e, p = exports.c, places.c
        same = (p.host == e.host, p.root == e.root, p.path == e.path, p.state == PlaceState.READY.value)
        names = (os.fsencode(name), os.fsencode(name.removesuffix(".data")))
        query = select(e.path).join(places, and_(*same)).where(e.host == self.owner, e.root == os.fsencode(root))
        query = query.where(e.file.in_(names)).distinct().order_by(e.path)
        if slash:
            query = query.where(e.path >= os.fsencode(f"{above}/"), e.path < os.fsencode(f"{above}0"))
        with self._reading() as connection:
            found = [os.fsdecode(path) for path in connection.scalars(query)]
        return [path for path in found if path != checkpoint and path.rpartition("/")[0] == above]

    def load_exported_places(self, root: str) -> set[str]:
        """Give the places of a root of which exports are known."""
        query = select(exports.c.path).where(exports.c.host == self.owner, exports.c.root == os.fsencode(root)).distinct()
        with self._reading() as connection:
            return {os.fsdecode(path) for path in connection.scalars(query)}

    def load_own_exports(self, root: str, paths: Sequence[str] | None = None) -> dict[str, tuple[RawIdentity | None, str]]:
        """Give the exports that we placed below a root: relative path → which file it was, and its digest.

        Args:
            root: where they lie.
            paths: at most a few hundred, where only those are asked for.
        """
        wanted = None if paths is None else [os.fsencode(path) for path in paths]
        with self._reading() as connection:
            rows = exported.load_outputs(connection, self.owner, os.fsencode(root), wanted)
            return {path: (identity, sha256) for path, identity, sha256 in rows}

    def load_export_digests(self, root: str) -> dict[str, int | None]:
        """Give the digests of the exports of a root, as its checkpoints have them, each with its size in bytes."""
        c = exports.c
        where = (c.host == self.owner, c.root == os.fsencode(root), c.sha256.is_not(None))
        with self._reading() as connection:
            return {row.sha256: row.size_bytes for row in connection.execute(select(c.sha256, c.size_bytes).where(*where))}

    def find_built(self, root: str, targets: Sequence[str]) -> list[str]:
        """Give the places with an export that was made by a recipe: by now another recipe, or other code, may be there."""
        c = exports.c
        where = (c.host == self.owner, c.root == os.fsencode(root), c.recipe_digest.is_not(None), c.target.in_(targets))
        with self._reading() as connection:
            return [os.fsdecode(path) for path in connection.scalars(select(c.path).where(*where).distinct())]

    def find_unexported(self, root: str, wanted: Mapping[str, str]) -> list[str]:
        """Give the places whose content lacks an export, or has one that was unavailable or in error when it was tried.

        Args:
            root: where to look.
            wanted: target → digest of its settings.
        """
        if not wanted:
            return []
        with self._reading() as connection:
            found = connection.scalars(exported.unexported(self.owner, os.fsencode(root), wanted))
            return [os.fsdecode(path) for path in found]

    def find_recipe(self, group: str) -> Recipe | None:
        """Give the recipe that is remembered for a group; without the text of its code, which its file has."""
        with self._reading() as connection:
            return exported.load_recipe(connection, self.owner, group)

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

    def _in(self, root: str) -> tuple[ColumnElement[bool], ...]:
        return places.c.host == self.owner, places.c.root == os.fsencode(root)

    def _at(self, root: str, path: str) -> tuple[ColumnElement[bool], ...]:
        return (*self._in(root), places.c.path == os.fsencode(path))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self.file), self.engine.connect() as connection:
            try:
                yield connection
            except (TypeError, ValueError) as error:  # a column holds what was never put there
                raise broken(self.file, str(error)) from error


_p = places.c
_CONTENTS = (
    select(_p.root, _p.path, _p.state, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.ctime_ns)
    .add_columns(contents.c.payload, contents.c.details)
    .join(contents, contents.c.key == _p.content)
    .where(contents.c.sha256.is_not(None), _p.host == bindparam("host"))
    .where(tuple_(_p.ino, _p.size, _p.mtime_ns).in_(bindparam("files", expanding=True)))
)


def _recall(found: list[Recalled], row: Any, identity: Identity) -> None:
    path = os.fsdecode(row.path)
    try:
        inspection = inspection_of(row.payload, row.details, path, identity)
    except WorkerError:  # somebody wrote to the index by hand: the file is read again, and the row made anew
        return
    is_exact = row.ctime_ns == bounded(identity.ctime_ns)
    found.append(Recalled(inspection, os.fsdecode(row.root), path, is_exact=is_exact, is_gone=row.state in _GONE))


def _find_owner(engine: Engine, host: str) -> str:
    """Give the name under which the rows of this host stand in a file: its own, or that of the only one that has any.

    A file belongs to one state directory, and so to one host, which may be called otherwise by now: a container that was made
    anew, another lease of an address.  What it knew is as true as before, and first of all its pins.
    """
    with engine.connect() as connection:
        known = list(connection.scalars(select(roots.c.host).distinct().limit(2)))
    return known[0] if len(known) == 1 else host


def _check_regular(file: Path, seen: os.stat_result) -> None:
    """Refuse what is no file of its own: SQLite would wait for the writer of a pipe, and read what a link leads to."""
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fspath(file))


def _keep_private(file: Path, *, may_make: bool) -> tuple[int, int]:
    """Make the file, or see that nobody else may read it; SQLite gives what it keeps beside it the same mode.

    It is pointed at, and not opened to be read or written: closing that would give back the locks that SQLite keeps on it for
    this process, and another process that ends would take the write-ahead log away under it.  Source: "How To Corrupt An
    SQLite Database File", 2.2; open(2) on O_PATH.

    Returns:
        Device and inode.

    Raises:
        IndexUnavailableError: it is not there, and may not be made.
        OSError: it can't be had.
    """
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if may_make:
            with suppress(FileExistsError):
                os.mknod(file.name, 0o600, dir_fd=directory)
        fd = os.open(file.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError as error:
        cure = "start ckptd again: it makes one of the files and the journal; or try again, if it starts just now"
        raise IndexUnavailableError("use the index", path=file, why="it is not there", cure=cure) from error
    finally:
        os.close(directory)
    try:
        seen = os.fstat(fd)
        _check_regular(file, seen)
        itself = f"/proc/self/fd/{fd}"
        if stat.S_IMODE(seen.st_mode) & 0o077:
            os.chmod(itself, 0o600)
        is_somebody_else = os.geteuid() != os.getuid()  # asked for that only: old containers refuse the system call
        if not os.access(itself, os.R_OK | os.W_OK, effective_ids=is_somebody_else):
            number = errno.EROFS if os.statvfs(itself).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number), os.fspath(file))
    finally:
        os.close(fd)
    return seen.st_dev, seen.st_ino
