"""Why the trash says no, as a word for programs and a sentence for people."""

from __future__ import annotations

import errno
import os
from enum import StrEnum

from ckptd.errors import StorageError
from ckptd.text import escape


class Refusal(StrEnum):
    """Why nothing was done; docs/trash.md says each for people."""

    #: It is not the file that was decided on: size, mtime, inode or bytes differ.
    CHANGED = "changed"
    #: Nothing lies there.
    GONE = "gone"
    #: A process has it open, for reading or writing.
    OPEN = "open"
    #: Nobody can say whether a process has it open, and the caller does not accept that.
    OPENNESS_UNKNOWN = "openness-unknown"
    #: A link, a directory, a pipe.
    NOT_A_FILE = "not-a-file"
    #: It lies in `.ckptd` itself.
    OWN_STATE = "own-state"
    OTHER_FILE_SYSTEM = "other-file-system"
    #: The file system lacks what it takes to do it without a moment in which a save could be lost.
    UNSUPPORTED = "unsupported"
    #: The file was moved and could not go back to its place: the entry of the trash keeps it.
    KEPT_ASIDE = "kept-aside"
    NO_ENTRY = "no-entry"
    #: The entry has no manifest that can be read, or holds what ckptd did not put there.
    BROKEN = "broken"
    #: A kill left it half done: sweep first.
    UNFINISHED = "unfinished"
    #: Another process works on the entry just now.
    BUSY = "busy"
    #: A file lies there already.
    TAKEN = "taken"
    #: The bytes in the trash are not those that were put there.
    DAMAGED = "damaged"


class RefusedError(StorageError):
    """The trash refused; every file is where it was, but for KEPT_ASIDE, where the message says which entry has it.

    Attributes:
        refusal: why, as a word.
    """

    def __init__(self, refusal: Refusal, what: str, *, path: object = None, why: str = "", cure: str = "") -> None:
        super().__init__(what, path=None if path is None else escape(str(path), 500), why=why, cure=cure)
        self.refusal = refusal


_CURES = {
    errno.ENOSPC: "free some space on this file system, or purge the trash; it is tried again",
    errno.EDQUOT: "the quota of the user that runs ckptd is used up: purge the trash, or raise it",
    errno.EROFS: "the file system is mounted read-only: mount it writable",
    errno.EACCES: "give the user that runs ckptd the right to write in the directory",
    errno.EPERM: "give the user that runs ckptd the right to write in the directory; in a sticky one only the owner of a file "
    "may move it (chmod -t)",
    errno.EBUSY: "something is mounted on it: unmount that",
    errno.EIO: "the disk reports an error: look at the kernel's log",
    errno.ESTALE: "the network file system lost its server's file handle: mount it again",
}


def said_no(what: str, path: str, error: OSError) -> StorageError:
    """Make the error that a person reads out of the one that the kernel gave.

    Args:
        what: what was being done.
        path: of the user's file, relative to its root.
        error: what the kernel said.
    """
    code = error.errno or 0
    if code == errno.EXDEV:
        why = "it lies on another file system than the trash of its root, and is not moved by copying"
        cure = "watch the directory where that is mounted as a root of its own"
        return RefusedError(Refusal.OTHER_FILE_SYSTEM, what, path=path, why=why, cure=cure)
    if code == errno.ENOENT:
        return RefusedError(Refusal.GONE, what, path=path, why="nothing lies there")
    if code in (errno.ELOOP, errno.ENOTDIR):
        return RefusedError(
            Refusal.NOT_A_FILE, what, path=path, why="it is a link, or a part of its path is none of a directory"
        )
    return StorageError(what, path=escape(path, 500), why=os.strerror(code), cure=_CURES.get(code, ""))
