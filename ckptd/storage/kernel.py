"""Two system calls that Python 3.11 lacks: openat2 and renameat2.

Each raises `OSError` like a function of `os`.  `Unsupported` says that the kernel, its seccomp filter or the file system
does not know the call or the flag; the callers then take their second way.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
from typing import Any

#: Source: include/uapi/linux/fs.h.
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

#: Source: include/uapi/linux/openat2.h.
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

#: Source: the syscall tables of Linux; since 424 all architectures share the numbers.
_OPENAT2 = 437
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}

#: What a kernel, a file system or a network file system answers that does not know the flag.
_NOT_KNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class Unsupported(OSError):  # noqa: N818 — an answer, not an error: the second way is taken
    """The kernel or the file system lacks this call or flag."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2_beneath(dir_fd: int, path: bytes, flags: int, mode: int) -> int:
    """Open `path` below `dir_fd` with no link of any kind on the way and close-on-exec set.

    Raises:
        Unsupported: there is no openat2 here; take the descriptor walk.
        OSError: ELOOP for a link, EXDEV for a path that leads out, else as `open`.
    """
    if not _has_openat2():
        raise Unsupported(errno.ENOSYS, "openat2")
    return _openat2(dir_fd, path, flags, mode)


def rename(dir_fd: int, source: str, target: str, flags: int) -> None:
    """Rename within one directory by renameat2.

    Raises:
        Unsupported: the kernel or the file system does not know the flag.
        OSError: as `rename`; EEXIST when `target` exists and RENAME_NOREPLACE was asked.
    """
    _renameat2(dir_fd, source, dir_fd, target, flags)


def rename_between(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    """Rename an entry of one directory to one of another by renameat2; with RENAME_EXCHANGE the two change places.

    Raises:
        Unsupported: the kernel or the file system does not know the flag.
        OSError: as `rename`; EXDEV when the two lie on two file systems or mounts.
    """
    _renameat2(source_fd, source, target_fd, target, flags)


def _renameat2(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    number = _renameat2_number()
    if number is None:
        raise Unsupported(errno.ENOSYS, "renameat2")
    if _rename_call()(number, source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags) != 0:
        code = ctypes.get_errno()
        kind = Unsupported if code in _NOT_KNOWN else OSError
        raise kind(code, os.strerror(code), source, None, target)


def _openat2(dir_fd: int, path: bytes, flags: int, mode: int) -> int:
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE  # O_TMPFILE holds the bit of O_DIRECTORY
    how = _OpenHow(flags | os.O_CLOEXEC, mode if creates else 0, resolve)
    while True:
        fd = _open_call()(_OPENAT2, dir_fd, path, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        # EAGAIN: something was renamed while the kernel walked; openat2(2) says to try again.
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code), os.fsdecode(path))


@functools.cache
def _has_openat2() -> bool:
    # Old container runtimes answer EPERM for calls they do not know, which a real open could answer too: so ask once,
    # with an open that cannot fail otherwise.
    try:
        fd = _openat2(-100, b".", os.O_PATH | os.O_DIRECTORY, 0)  # AT_FDCWD
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG)
    os.close(fd)
    return True


@functools.cache
def _renameat2_number() -> int | None:
    return _RENAMEAT2.get(platform.machine())


@functools.cache
def _rename_call() -> Any:
    return _syscall(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)


@functools.cache
def _open_call() -> Any:
    return _syscall(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)


def _syscall(*arguments: Any) -> Any:
    function = ctypes.CDLL(None, use_errno=True)["syscall"]  # by item, not by attribute: each call has types of its own
    function.argtypes = (ctypes.c_long, *arguments)
    function.restype = ctypes.c_long
    return function
