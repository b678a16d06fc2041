"""Put a file that lies whole in a scratch directory under its name, and never in place of one that is not ours.

On one file system that is a link and no copy.  What made the file is dead by now, and the file has to be the very one that was
checked: the same inode with the same times.
"""

from __future__ import annotations

import errno
import os
import stat

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage.atomic import Exchanged, Outcome, Written, exchange_written
from ckptd.storage.beneath import entry_name
from ckptd.storage.compare import fingerprint, is_expected
from ckptd.storage.faults import NameTakenError, place_of, storage_error, translated
from ckptd.storage.sharing import take_sharing
from ckptd.storage.temporary import discard, new_temporary_name, rename_new, swap_name_for

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What link() answers where the two directories lie on two file systems, or it knows no links.  Source: link(2).
_NO_LINK = frozenset((errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
_COPY_BYTES = 64 << 20
#: In the name of a hidden file that is only taken away: nothing of ours comes in its place.
_NOTHING = "0" * 64


def place_file(
    source_fd: int,
    source: str,
    checked: Identity,
    dir_fd: int,
    name: str,
    *,
    sha256: str,
    ours: Identity | None = None,
    like: os.stat_result | None = None,
) -> Written:
    """Give a checked file its name.

    Args:
        source_fd: of the scratch directory.
        source: its name there.
        checked: what the checker saw; anything else is refused.
        dir_fd: a readable descriptor of the directory where it shall lie.
        name: one entry of it.
        sha256: of its content.
        ours: identity (but for its ctime) of a file of ours that may be replaced.
        like: whose group and permission bits the file takes.

    Raises:
        NameTakenError: the name is taken by a file that is not `ours`; nothing was changed.
        StorageError: the disk said no, or the file is not the one that was checked; nothing was changed.
    """
    with translated("put a file in place", dir_fd, name):
        entry_name(name)
        fd = _open_checked(source_fd, source, checked)
        try:
            findings = take_sharing(fd, like) if like else ()
            temporary = new_temporary_name()
            _link_or_copy(fd, dir_fd, temporary, like)
            written = Written(Identity.of(os.stat(temporary, dir_fd=dir_fd, follow_symlinks=False)), findings)
        finally:
            os.close(fd)
    return _put(dir_fd, name, temporary, written, sha256, ours)


def remove_if_same(dir_fd: int, name: str, ours: Identity) -> bool:
    """Remove a file of ours, and nothing that somebody saved in its place since it was looked at.

    It is taken out of the way first and looked at then, and what is not ours goes back.  Where somebody saved once more in
    between, both saves are kept.

    Args:
        dir_fd: a readable descriptor of the directory.
        name: one entry of it.
        ours: identity (but for its ctime) of the file.

    Raises:
        StorageError: the disk said no; where a file lies elsewhere now, the message names it.
    """
    with translated("remove a file", dir_fd, name):
        entry_name(name)
        hidden = swap_name_for(new_temporary_name(), 0, _NOTHING, fingerprint(ours))
        os.rename(name, hidden, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        if is_expected(dir_fd, hidden, ours):
            os.unlink(hidden, dir_fd=dir_fd)
            return True
    with translated(f"give a file its name back; it is kept as {hidden}", dir_fd, name):
        rename_new(dir_fd, hidden, name)
    return False


def _open_checked(source_fd: int, source: str, checked: Identity) -> int:
    fd = os.open(source, _READ, dir_fd=source_fd)
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1 or Identity.of(seen) != checked:
        os.close(fd)
        raise StorageError("put a file in place", path=place_of(source_fd, source), why="it is not the file that was checked")
    return fd


def _link_or_copy(fd: int, dir_fd: int, temporary: str, like: os.stat_result | None) -> None:
    try:
        os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=dir_fd, follow_symlinks=True)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    else:
        return
    target = os.open(temporary, _CREATE, 0o600, dir_fd=dir_fd)
    try:
        offset, size = 0, os.fstat(fd).st_size
        while offset < size:
            sent = os.sendfile(target, fd, offset, _COPY_BYTES)
            if not sent:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            offset += sent
        if like:
            take_sharing(target, like)
        os.fsync(target)
    except BaseException:
        discard(dir_fd, temporary)
        raise
    finally:
        os.close(target)


def _put(dir_fd: int, name: str, temporary: str, written: Written, sha256: str, ours: Identity | None) -> Written:
    try:
        rename_new(dir_fd, temporary, name)
    except FileExistsError as error:
        if ours is None:
            discard(dir_fd, temporary)
            raise _taken(dir_fd, name) from error
    except OSError as error:
        discard(dir_fd, temporary)
        raise storage_error("put a file in place", dir_fd, name, error) from error
    else:
        with translated("sync the directory", dir_fd, name):
            os.fsync(dir_fd)
        return written._replace(identity=_as_it_lies(dir_fd, name, written.identity))
    done = exchange_written(dir_fd, name, ours, temporary, written, sha256)
    return _replaced(done, dir_fd, name)


def _as_it_lies(dir_fd: int, name: str, placed: Identity) -> Identity:
    """Give the identity of our file with the ctime that the rename gave it; what somebody saved over it since is not ours."""
    try:
        now = Identity.of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
    except OSError:
        return placed
    return now if now[:4] == placed[:4] else placed


def _replaced(done: Exchanged, dir_fd: int, name: str) -> Written:
    match done.outcome:
        case Outcome.EXCHANGED:
            assert done.written is not None
            return done.written
        case Outcome.UNSUPPORTED:
            cure = "remove the old one, and it is made anew"
            why = "this file system cannot exchange two files, and to replace one without that could lose somebody's save"
            raise StorageError("replace a file", path=place_of(dir_fd, name), why=why, cure=cure)
        case Outcome.GONE:
            why = "it was removed while it was replaced"
            raise StorageError("replace a file", path=place_of(dir_fd, name), why=why, cure="export it again")
        case _:
            raise _taken(dir_fd, name)


def _taken(dir_fd: int, name: str) -> NameTakenError:
    why = "a file of this name exists, and it is not one that ckptd made"
    return NameTakenError("put a file in place", path=place_of(dir_fd, name), why=why, cure="move or rename it")
