"""Say of a file with a sidecar's name whose it is, from the file alone.

| what lies there | whose | what happens to it |
|---|---|---|
| nothing | MISSING | a sidecar is written |
| our text, byte for byte (its seal fits), about this checkpoint | OURS | written anew when the checkpoint changed |
| ours once, changed by a person | EDITED | only the value of `ckptd` is ever replaced |
| no `ckptd` key, or one about another checkpoint; a link, a directory | PERSONS | never touched; ours takes another name |
| no document: cut, not JSON, duplicate keys, over 1 MiB … | BROKEN | reported and left alone |
| nothing but a beginning of what we would write | BROKEN | torn by a power cut: written anew (`is_torn`) |
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ckptd.metadata.document import OWN_KEY
from ckptd.metadata.layout import is_sealed
from ckptd.metadata.reading import MOST_BYTES, BrokenError, Document, read_document
from ckptd.storage.beneath import entry_name

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Takes for equal what a time or a seal is written with.
_MASK = bytes.maketrans(b"0123456789abcdef", b"#" * 16)


class Whose(StrEnum):
    """Who may change a file with a sidecar's name."""

    MISSING = "missing"
    OURS = "ours"
    EDITED = "edited"
    PERSONS = "persons"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Examined:
    """A name beside a checkpoint and what lies there.

    Attributes:
        data: its content as read; empty when it was not.
        status: of the file that was read; None when there was none.
        document: None unless it could be read as one.
        why: what is wrong with it, for a person, when it is broken.
    """

    name: str
    whose: Whose
    data: bytes = b""
    status: os.stat_result | None = None
    document: Document | None = None
    why: str = ""

    @property
    def sha256(self) -> str:
        """Digest of the content that was read."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def section(self) -> dict[str, Any]:
        """Our part of it; empty when it has none."""
        member = self.document.members.get(OWN_KEY) if self.document else None
        return member.value if member and isinstance(member.value, dict) else {}


def examine(
    dir_fd: int, name: str, checkpoint: str, sha256: str | None = None, known_digests: Collection[str] = frozenset()
) -> Examined:
    """Read a file with a sidecar's name and say whose it is.

    Args:
        dir_fd: the directory of the checkpoint.
        name: of the file.
        checkpoint: file name of the checkpoint.
        sha256: of the checkpoint's content; knows it again after it was renamed.
        known_digests: of files that we wrote, as the index remembers them.
    """
    # The usual case, and an exception would cost five times as much.
    if not os.access(name, os.F_OK, dir_fd=dir_fd, follow_symlinks=False):
        return _absent(name)
    try:
        fd = os.open(name, _FLAGS, dir_fd=dir_fd)
    except OSError as error:
        return _unopened(name, error)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Examined(name, Whose.PERSONS, status=status)
        data = _read(fd)
    except OSError as error:
        return Examined(name, Whose.BROKEN, why=f"it can't be read ({os.strerror(error.errno or 0)})")
    finally:
        os.close(fd)
    try:
        document = read_document(data)
    except BrokenError as error:
        return Examined(name, Whose.BROKEN, data, status, why=str(error))
    examined = Examined(name, Whose.PERSONS, data, status, document)
    if not _speaks_of(dir_fd, examined.section, checkpoint, sha256):
        return examined
    untouched = is_sealed(data) or (examined.sha256 in known_digests and examined.section.get("seal") is not None)
    return Examined(name, Whose.OURS if untouched else Whose.EDITED, data, status, document)


def is_torn(examined: Examined, whole: bytes) -> bool:
    """Tell whether a broken file is a beginning of what we would write now, so that nothing of a person can be in it.

    A power cut leaves such a file of a sidecar, which is not synced: empty, cut, or filled up with NUL bytes.

    Args:
        examined: a broken file.
        whole: what we would write now; only the time in it may differ.
    """
    if examined.status is None or not stat.S_ISREG(examined.status.st_mode):
        return False
    if os.geteuid() not in (0, examined.status.st_uid):
        return False  # somebody else is about to write here
    begun = examined.data.rstrip(b"\0")
    stamp = whole.rfind(b'"generated_at": "')
    # The time and the seal, which is made of it, differ from those that were torn; all else has to be the same.
    return whole[:stamp].startswith(begun[:stamp]) and whole[stamp:].translate(_MASK).startswith(begun[stamp:].translate(_MASK))


def _absent(name: str) -> Examined:
    try:
        entry_name(name)
    except OSError:
        return Examined(name, Whose.PERSONS, why="the name is too long")
    return Examined(name, Whose.MISSING)


def _unopened(name: str, error: OSError) -> Examined:
    match error.errno:
        case errno.ENOENT:
            return Examined(name, Whose.MISSING)
        case errno.ELOOP | errno.ENXIO:  # a link or a socket: somebody's arrangement
            return Examined(name, Whose.PERSONS)
        case _:
            return Examined(name, Whose.BROKEN, why=f"it can't be read ({os.strerror(error.errno or 0)})")


def _read(fd: int) -> bytes:
    """Read a little more than is accepted, so that too much is known as such."""
    blocks, left = [], MOST_BYTES + 1
    while left and (block := os.read(fd, left)):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _speaks_of(dir_fd: int, section: dict[str, Any], checkpoint: str, sha256: str | None) -> bool:
    """Tell whether a sidecar is about this checkpoint: by its name, or by its content after it was renamed."""
    file = section.get("file")
    if not isinstance(section.get("schema_version"), int) or not isinstance(file, str):
        return False
    if file == checkpoint:
        return True
    return sha256 is not None and section.get("sha256") == sha256 and not _exists(dir_fd, file)


def _exists(dir_fd: int, name: str) -> bool:
    try:
        os.stat(entry_name(name), dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
