"""Open paths below a root so that nobody who can write there leads us out of it.

A neighbour may swap a directory for a link at any moment.  So a path is never joined to a string and opened; it is
walked from a descriptor of the root, by the kernel (openat2) or part by part, and no link is followed on the way.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from ckptd.storage import kernel

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class RootHandle:
    """Hold a root directory open: it stays the same one, whatever its path is made to mean later.

    The path itself may be a link (`./trained_models -> /srv/models`); links are refused only below it.
    The descriptor is readable, so that it can be listed and synced; it is closed on exec.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.fd = os.open(self.path, _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the root go; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_beneath(root_fd: int, relpath: str | bytes, flags: int, mode: int = 0o600) -> int:
    """Open a path relative to `root_fd`; no part of it may be a link, and close-on-exec is set.

    Raises:
        OSError: EINVAL for an empty path, "." or "" as a part, or a NUL; EXDEV for an absolute path or ".."; ELOOP for a
            link at any part; else as `open`.
    """
    parts = split_relative(relpath)
    try:
        return kernel.openat2_beneath(root_fd, b"/".join(parts), flags, mode)
    except kernel.Unsupported:
        return _open_by_walk(root_fd, parts, flags, mode)


def open_parent_beneath(root_fd: int, relpath: str | bytes) -> tuple[int, str]:
    """Open the directory that holds `relpath` and give it with the last part; the caller closes the descriptor.

    Raises:
        OSError: as `open_beneath`.
    """
    parts = split_relative(relpath)
    name = os.fsdecode(parts[-1])
    if len(parts) == 1:
        return os.open(".", _DIRECTORY, dir_fd=root_fd), name
    return open_beneath(root_fd, b"/".join(parts[:-1]), _DIRECTORY), name


def split_relative(relpath: str | bytes) -> list[bytes]:
    """Split a relative path into parts that each name an entry of a directory.

    Raises:
        OSError: EINVAL or EXDEV, as `open_beneath`.
    """
    path = _encoded(relpath)
    parts = path.split(b"/")
    if path.startswith(b"/") or b".." in parts:
        raise OSError(errno.EXDEV, "the path leads out of its root", os.fsdecode(path))
    if b"" in parts or b"." in parts or b"\0" in path:
        raise OSError(errno.EINVAL, "not a path of named parts", os.fsdecode(path))
    return parts


def _open_by_walk(root_fd: int, parts: list[bytes], flags: int, mode: int) -> int:
    held = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            below = _open_part(held, part, os.O_PATH | os.O_DIRECTORY, 0)
            os.close(held)
            held = below
        return _open_part(held, parts[-1], flags, mode)
    finally:
        os.close(held)


def _open_part(dir_fd: int, name: bytes, flags: int, mode: int) -> int:
    # O_PATH|O_NOFOLLOW opens the link itself; with O_DIRECTORY it is ENOTDIR.  Both are told as openat2 tells them.
    asked_for_the_link = bool(flags & os.O_PATH and flags & os.O_NOFOLLOW)
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    except NotADirectoryError:
        if _is_link(dir_fd, name):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(name)) from None
        raise
    if flags & os.O_PATH and not asked_for_the_link and stat.S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(name))
    return fd


def _is_link(dir_fd: int, name: bytes) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def entry_name(name: str) -> str:
    """Pass a string that is to name an entry of a directory; the one gate for whatever ckptd writes or looks up.

    Raises:
        OSError: EINVAL when it is empty, ".", "..", holds "/" or NUL or can't be encoded; ENAMETOOLONG above 255 bytes.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, "not a name of a directory entry", name)
    if len(name) > 255 or (not name.isascii() and len(_encoded(name)) > 255):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    return name


def _encoded(path: str | bytes) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:  # half a surrogate pair, out of a file: no name on any disk
        raise OSError(errno.EINVAL, "not a name that a file can have", repr(path)) from error
