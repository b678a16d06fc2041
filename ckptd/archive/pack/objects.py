"""Object files: the stored bytes of objects, one behind the other.  What lies where stands in the archives that use them."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import Struct
from threading import Lock
from types import TracebackType
from typing import NamedTuple, Self

from isal.isal_zlib import crc32

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack.place import DIRECTORY_NAME, object_file_name
from ckptd.archive.pack.sizes import OBJECT_FILE_BYTES
from ckptd.archive.pack.table import ID_BYTES, OBJECT_FILE_HEAD_BYTES, Place
from ckptd.archive.pack.trouble import DamageError
from ckptd.archive.placing import forget_cached
from ckptd.storage.faults import place_of
from ckptd.storage.temporary import discard, new_temporary_name, rename_new
from ckptd.text import format_size

#: magic, version, zero, id
_HEAD = Struct("<8sII16s")
_MAGIC = b"CKPTOBJS"
_VERSION = 1
#: Objects that are smaller are written together.
_TOGETHER_BYTES = 1 << 20
#: After so many bytes they are sent to the disk.
_BEGIN_BYTES = 8 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Who may read what is in an archive; nobody but its owner has a reason to write it.
_SHARED_BITS, _OWN_BITS, _GROUP_BITS, _OTHERS_BITS = 0o444, 0o600, 0o040, 0o004
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ObjectReader:
    """Read stored objects.  It holds the file of the last one open, so it serves one thread, and must be closed."""

    def __init__(self, place: int | None) -> None:
        """Begin; `place` is the directory of the objects, None where there is none."""
        self._place = place
        self._id = b""
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def read(self, file_id: bytes, where: Place, buffer: memoryview) -> memoryview:
        """Read the stored bytes of an object into the beginning of a buffer, check their CRC-32, and give that part of it.

        Args:
            file_id: of the object file.
            where: the bytes lie in it.
            buffer: as long as an object can be.

        Raises:
            DamageError: the file is missing, another one, cut short or unreadable; the bytes are not those that were written.
        """
        name = object_file_name(file_id)
        data = buffer[: where.stored_bytes]
        try:
            self._open(file_id, name)
            if not _fill(self._fd, data, where.offset):
                raise DamageError(f"the object file {name} is cut short")
        except FileNotFoundError:
            raise DamageError(f"the object file {name} is missing") from None
        except OSError as error:
            raise DamageError(f"the object file {name} can't be read: {os.strerror(error.errno or 0)}") from error
        if crc32(data) != where.crc:
            raise DamageError(f"the object file {name} is damaged at byte {where.offset:,}")
        return data

    def _open(self, file_id: bytes, name: str) -> None:
        if file_id == self._id:
            return
        self._close()
        if self._place is None:
            raise DamageError(f"there is no directory {DIRECTORY_NAME}, which holds its bytes, beside the archive")
        self._fd = os.open(name, _READ, dir_fd=self._place)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode) or os.pread(self._fd, _HEAD.size, 0) != _head(file_id):
            raise DamageError(f"the object file {name} is another file than the one that was written")
        self._id = file_id

    def _close(self) -> None:
        self._id = b""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def forget_object_file(place: int, file_id: bytes) -> None:
    """Let the kernel forget what it holds of an object file, so that the next read comes from the disk."""
    try:
        fd = os.open(object_file_name(file_id), _READ, dir_fd=place)
    except OSError:
        return  # whoever reads it says why
    try:
        forget_cached(fd)
    finally:
        os.close(fd)


class Put(NamedTuple):
    """Where stored bytes went.

    Attributes:
        file_id: of the object file.
        offset: in it.
        crc: CRC-32 of them.
    """

    file_id: bytes
    offset: int
    crc: int


class ObjectWriter:
    """Append objects to new object files.  Nothing has its name before `finish`; leaving it without that removes all.

    Threading: `put` may be called by several threads at a time.

    Attributes:
        ids: of the files.
        size_bytes: of all of them.
    """

    def __init__(self, place: int, check_room: Callable[[int], None]) -> None:
        """Begin.

        Args:
            place: the directory of the objects.
            check_room: raises when so many bytes more must not be written.
        """
        self._place = place
        self._check_room = check_room
        self._lock = Lock()
        self._small = bytearray()
        self._fd = -1
        self._end = self._begun = 0
        self._hidden: list[str] = []
        self._named: list[str] = []
        self.ids: list[bytes] = []
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        for name in (*self._hidden, *(self._named if error is not None else ())):
            discard(self._place, name)

    def put(self, data: bytes | memoryview) -> Put:
        """Append the stored bytes of an object.

        Raises:
            ArchiveError: what has to stay free would not.
            OSError: the disk says no.
        """
        crc = crc32(data)
        with self._lock:
            if self._fd < 0 or self._end >= OBJECT_FILE_BYTES:
                self._close_file()
                self._open_file()
            offset = self._end
            self._end += len(data)
            self.size_bytes += len(data)
            self._write(data)
            return Put(self.ids[-1], offset, crc)

    def finish(self, like: Sequence[os.stat_result]) -> None:
        """Sync the files and give them their names.

        Args:
            like: of the files that are in them: who may not read each of them may not read these.

        Raises:
            OSError: the disk says no.
        """
        self._close_file()
        for hidden, file_id in zip(tuple(self._hidden), self.ids, strict=True):
            _share(self._place, hidden, like)
            name = object_file_name(file_id)
            rename_new(self._place, hidden, name)
            self._hidden.remove(hidden)
            self._named.append(name)
        os.fsync(self._place)

    def _open_file(self) -> None:
        file_id, hidden = secrets.token_bytes(ID_BYTES), new_temporary_name()
        self._fd = os.open(hidden, _CREATE, 0o600, dir_fd=self._place)
        self._hidden.append(hidden)
        self.ids.append(file_id)
        self._small += _head(file_id)
        self._end = self._begun = OBJECT_FILE_HEAD_BYTES
        self.size_bytes += OBJECT_FILE_HEAD_BYTES

    def _write(self, data: bytes | memoryview) -> None:
        """Write, small things together."""
        if len(data) < _TOGETHER_BYTES:
            self._small += data
            if len(self._small) < _TOGETHER_BYTES:
                return
        self._write_small()
        if len(data) >= _TOGETHER_BYTES:
            self._check_room(len(data))
            write_all(self._fd, data)
        if self._end - self._begun >= _BEGIN_BYTES:
            self._begin_writeback()

    def _write_small(self) -> None:
        if self._small:
            small, self._small = self._small, bytearray()
            self._check_room(len(small))
            write_all(self._fd, small)

    def _begin_writeback(self) -> None:
        """Let dirty pages begin their way to the disk while the cores compress, so that the sync finds few of them."""
        with suppress(OSError):
            os.posix_fadvise(self._fd, self._begun, self._end - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self._end

    def _close_file(self) -> None:
        if self._fd >= 0:
            self._write_small()
            fd, self._fd = self._fd, -1
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def room_check(place: int, free_bytes: int) -> Callable[[int], None]:
    """Give a function that raises when so many bytes more would leave less than `free_bytes` on the file system."""

    def check(length: int) -> None:
        now = os.fstatvfs(place)
        free = now.f_bavail * now.f_frsize
        if free_bytes and free - length < free_bytes:
            why = f"{format_size(free)} are free there, and {format_size(free_bytes)} have to stay free"
            cure = "free some space there, set archive.directory to another disk, or lower policy.free_bytes"
            raise ArchiveError("write an archive", path=place_of(place, "."), why=why, cure=cure)

    return check


def _share(place: int, name: str, like: Sequence[os.stat_result]) -> None:
    """Let read an object file who may read all that is in it; by its group only when it is that of all of them."""
    fd = os.open(name, _READ, dir_fd=place)
    try:
        group = os.fstat(fd).st_gid
        bits = _SHARED_BITS
        for one in like:
            bits &= one.st_mode if one.st_gid == group else one.st_mode & ~_GROUP_BITS | (one.st_mode & _OTHERS_BITS) << 3
        os.fchmod(fd, bits | _OWN_BITS)
    finally:
        os.close(fd)


def _head(file_id: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, _VERSION, 0, file_id)


def _fill(fd: int, data: memoryview, offset: int) -> bool:
    done = 0
    while done < len(data):
        got = os.preadv(fd, [data[done:]], offset + done)
        if not got:
            return False
        done += got
    return True


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of it at the position of the descriptor.

    Raises:
        OSError: the disk says no.
    """
    left = memoryview(data)
    while left:
        count = os.write(fd, left)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[count:]
