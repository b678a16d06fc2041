"""A large file that grows, and has its name only when it is whole and on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from ckptd.archive.faults import archive_error, translated
from ckptd.archive.interface import ArchiveError
from ckptd.storage.beneath import entry_name
from ckptd.storage.faults import place_of
from ckptd.storage.temporary import discard, new_temporary_name, rename_new
from ckptd.text import format_size

_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_HIDDEN = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What open(O_TMPFILE) answers where there are no files without a name.  Source: open(2).
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
#: The kernel is told to write so much at a time: else the disk would idle until the last fsync, and all memory fill with it.
_FLUSH_BYTES = 8 << 20
#: Nobody but its owner has a reason to write an archive.
_SHARED_BITS, _OWN_BITS, _GROUP_BITS, _OTHERS_BITS = 0o444, 0o600, 0o040, 0o004


class NewFile:
    """A file without a name, hashed while it grows; leaving the block without `place` leaves nothing behind.

    Where a file system knows no files without a name, it has a hidden one, which `leftovers.sweep_leftovers` knows.

    Attributes:
        size_bytes: what was appended.
    """

    def __init__(self, directory: int, name: str, *, free_bytes: int = 0) -> None:
        """Begin a file.

        Args:
            directory: a readable descriptor of the directory.
            name: that it will have.
            free_bytes: what has to stay free on the file system.

        Raises:
            ArchiveError: the name is none or taken, or the disk said no.
        """
        self.size_bytes = 0
        self._directory, self._name, self._free_bytes = directory, name, free_bytes
        self._digest = hashlib.sha256()
        self._flushed = 0
        self._hidden = ""
        self._fd = -1
        with translated("write an archive", directory, name):
            entry_name(name)
            if _exists(directory, name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._hidden:
            discard(self._directory, self._hidden)

    @property
    def sha256(self) -> str:
        """Give the digest of what was appended, in hex."""
        return self._digest.hexdigest()

    def append(self, data: bytes) -> None:
        """Write at the end.

        Raises:
            ArchiveError: the disk said no, or less than `free_bytes` would stay free.
        """
        with translated("write an archive", self._directory, self._name):
            self._check_free(len(data))
            left = memoryview(data)
            while left:
                count = os.write(self._fd, left)  # a full disk first shows as a short write; the next call says why
                if count == 0:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                left = left[count:]
        self._digest.update(data)
        self.size_bytes += len(data)
        if self.size_bytes - self._flushed >= _FLUSH_BYTES:
            self._start_writing()

    def place(self, like: Iterable[os.stat_result]) -> None:
        """Sync the file, give it its name, sync the directory.

        Args:
            like: of the files that are in it: who may not read each of them may not read this.

        Raises:
            ArchiveError: the disk said no, or the name is taken by now.
        """
        with translated("write an archive", self._directory, self._name):
            _share(self._fd, list(like))
            os.fsync(self._fd)
            self._name_it()
            try:
                os.fsync(self._directory)
            except OSError:
                discard(self._directory, self._name)
                raise

    def _open(self) -> None:
        try:
            if os.path.exists("/proc/self/fd"):  # its name is given by way of it
                self._fd = os.open(".", _NAMELESS, 0o600, dir_fd=self._directory)
                return
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
        hidden = new_temporary_name()
        self._fd = os.open(hidden, _HIDDEN, 0o600, dir_fd=self._directory)
        self._hidden = hidden

    def _start_writing(self) -> None:
        # Starts writing what is dirty and lets go of what is written.  Source: mm/fadvise.c of Linux.
        with suppress(OSError):
            os.posix_fadvise(self._fd, self._flushed, self.size_bytes - self._flushed, os.POSIX_FADV_DONTNEED)
        self._flushed = self.size_bytes

    def _check_free(self, more: int) -> None:
        if not self._free_bytes:
            return
        seen = os.fstatvfs(self._fd)
        free = seen.f_bavail * seen.f_frsize
        if free - more >= self._free_bytes:
            return
        why = f"{format_size(free)} are free there, and {format_size(self._free_bytes)} have to stay free"
        cure = "free some space there, set archive.directory to another disk, or lower policy.free_bytes"
        raise ArchiveError("write an archive", path=place_of(self._directory, self._name), why=why, cure=cure)

    def _name_it(self) -> None:
        if self._hidden:
            rename_new(self._directory, self._hidden, self._name)
            self._hidden = ""
        else:
            os.link(f"/proc/self/fd/{self._fd}", self._name, dst_dir_fd=self._directory, follow_symlinks=True)


def open_to_read(directory: int, name: str) -> int:
    """Open an archive.

    Raises:
        ArchiveError: it is not there, or no plain file, or may not be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    with translated("open an archive", directory, name):
        fd = os.open(entry_name(name), flags, dir_fd=directory)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise ArchiveError("open an archive", path=place_of(directory, name), why="it is no plain file")


def forget_cached(fd: int) -> None:
    """Let the kernel drop what it holds of a file in memory, so that who reads it next reads the disk."""
    try:
        os.fsync(fd)
    except OSError:
        return  # of another's file on a file system that takes no writes: what is dirty can't be dropped, and is still true
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def remove_archive(directory: int, name: str) -> int:
    """Unlink a file; the bytes that came back.

    Raises:
        ArchiveError: the disk said no.
    """
    with translated("remove an archive", directory, name):
        seen = os.stat(entry_name(name), dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode):
            raise archive_error("remove an archive", directory, name, OSError(errno.EINVAL, "it is no plain file"))
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
    return seen.st_blocks * 512 if seen.st_nlink == 1 else 0


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _share(fd: int, like: list[os.stat_result]) -> None:
    """Let read the archive who may read all that is in it: the group only when they all have the same one."""
    mode = _SHARED_BITS
    for one in like:
        mode &= one.st_mode
    groups = {one.st_gid for one in like}
    owners = {one.st_uid for one in like} if os.geteuid() == 0 else set()
    now = os.fstat(fd)
    owner, group = owners.pop() if len(owners) == 1 else -1, groups.pop() if len(groups) == 1 else now.st_gid
    try:
        if groups:
            raise PermissionError(errno.EPERM, "several groups")
        if now.st_gid != group or owner not in (-1, now.st_uid):
            os.fchown(fd, owner, group)
    except OSError:
        mode = (mode & ~_GROUP_BITS) | (mode & _OTHERS_BITS) << 3
    os.fchmod(fd, mode | _OWN_BITS)
