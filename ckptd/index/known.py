"""What the index knows of a file: where it lies, as which file, and what was read there; a hundred thousand of them, lean."""

from __future__ import annotations

import gc
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, LargeBinary, String, literal_column, select

from ckptd.index.tables import places, unsigned
from ckptd.model import GONE_STATES, Inspection, PlaceState, RawIdentity


class KnownPlace(NamedTuple):
    """A place as the index has it."""

    id: int
    identity: RawIdentity
    state: str
    sha256: str | None

    @property
    def is_missing(self) -> bool:
        """Say whether the file was gone when it was last looked for, or was taken away by ckptd itself."""
        return self.state in GONE_STATES

    @property
    def is_settled(self) -> bool:
        """Say whether nothing more is to be done for this file as it was."""
        return self.state in (PlaceState.READY, PlaceState.REJECTED, *GONE_STATES)


class Recalled(NamedTuple):
    """A content that the index knows for a file.

    Attributes:
        inspection: as it was recorded.
        root, path: where it was.
        is_exact: False when only the ctime differs: moved, linked or chmod-ed, or written to by somebody who set the clock.
        is_gone: whether the file was known not to lie there any more.
    """

    inspection: Inspection
    root: str
    path: str
    is_exact: bool
    is_gone: bool


_p = places.c
_KNOWN = select(_p.path, _p.id, _p.state, _p.sha256, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.ctime_ns)
_IDENTITIES = select(_p.path, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.ctime_ns)
_GONE = tuple(state.value for state in GONE_STATES)
#: A root is most of the table: to read it from end to end takes half the time of going by way of the index, which the plus
#: forbids.  Source: "Disqualifying WHERE clause terms using unary +" in SQLite's notes on its query planner.
_ALL = (literal_column("+places.host", String), literal_column("+places.root", LargeBinary))
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def load_root_places(connection: Connection, host: str, root: bytes) -> dict[str, KnownPlace]:
    """Give every known place of a root: relative path → place."""
    host_column, root_column = _ALL if connection.dialect.name == "sqlite" else (_p.host, _p.root)
    return _load(connection, (host_column == host, root_column == root))


def load_present_identities(connection: Connection, host: str, root: bytes) -> dict[str, RawIdentity]:
    """Give the identity of every known place of a root that is not known as gone: all that a comparison needs.

    What is gone stays in the index for ever, and would soon be most of what is loaded.
    """
    host_column, root_column = _ALL if connection.dialect.name == "sqlite" else (_p.host, _p.root)
    with uncollected():
        query = _IDENTITIES.where(host_column == host, root_column == root, _p.state.not_in(_GONE))
        rows: Any = connection.execute(query).cursor
        return _identities_of(rows)


def load_gone_identities(connection: Connection, host: str, root: bytes, paths: Container[str]) -> dict[str, RawIdentity]:
    """Give the identity of those places among some that are known as gone.

    The rows are looked through and not asked for by name: of ten thousand new files a question would keep all names, and
    the memory that it took once, a process keeps.
    """
    host_column, root_column = _ALL if connection.dialect.name == "sqlite" else (_p.host, _p.root)
    query = _IDENTITIES.where(host_column == host, root_column == root, _p.state.in_(_GONE))
    rows: Any = connection.execute(query).cursor
    return _identities_of(rows, paths)


def _identities_of(rows: Iterable[Any], wanted: Container[str] | None = None) -> dict[str, RawIdentity]:
    encoding, errors, decode = _ENCODING, _ERRORS, bytes.decode
    known: dict[str, RawIdentity] = {}
    for path, dev, ino, size, mtime_ns, ctime_ns in rows:
        name = decode(path, encoding, errors)
        if wanted is not None and name not in wanted:
            continue
        if dev < 0 or ino < 0:
            dev, ino = unsigned(dev), unsigned(ino)  # noqa: PLW2901 — the one row in a million
        known[name] = (dev, ino, size, mtime_ns, ctime_ns)
    return known


def load_some_places(connection: Connection, where: tuple[ColumnElement[bool], ...]) -> dict[str, KnownPlace]:
    """Give the known places of one root that fit a condition: relative path → place."""
    return _load(connection, where)


def _load(connection: Connection, where: tuple[ColumnElement[bool], ...]) -> dict[str, KnownPlace]:
    # Tuples as the driver gives them: a row of SQLAlchemy costs as much as all the rest.
    with uncollected():
        rows: Any = connection.execute(_KNOWN.where(*where)).cursor
        return _places_of(rows)


def _places_of(rows: Iterable[Any]) -> dict[str, KnownPlace]:
    encoding, errors, decode, new = _ENCODING, _ERRORS, bytes.decode, tuple.__new__
    known = {}
    for path, number, state, sha256, dev, ino, size, mtime_ns, ctime_ns in rows:
        if dev < 0 or ino < 0:
            dev, ino = unsigned(dev), unsigned(ino)  # noqa: PLW2901 — the one row in a million
        # What `KnownPlace(…)` does, without the call in between.
        place = new(KnownPlace, (number, (dev, ino, size, mtime_ns, ctime_ns), state, sha256))
        known[decode(path, encoding, errors)] = place
    return known


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from looking again and again at tuples that all stay: it takes as long as reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
