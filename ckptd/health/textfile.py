"""Write the metrics where the textfile collector of node_exporter reads them: whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from ckptd.errors import StorageError

#: How each of these files begins; a file that begins otherwise is somebody else's and stays.
BEGINNING = b"# HELP ckptd_"
_MODE = 0o644
#: A temporary file lives for milliseconds; one that is older than this was left behind by a kill.
_LEFT_SECONDS = 60.0
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_textfile(path: Path, text: bytes) -> None:
    """Put a new version in the place of the last.

    It need not survive a power cut: the next one comes in some seconds.

    Raises:
        StorageError: the disk said no, or something else lies there; nothing was changed.
    """
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _refuse_strangers(fd, path)
            _replace(fd, path.name, text)
        finally:
            os.close(fd)
    except OSError as error:
        cure = "let the daemon's user write in that directory, or correct health.textfile"
        raise StorageError("write the metrics", path=path, why=os.strerror(error.errno or 0), cure=cure) from error


def remove_leftovers(path: Path) -> None:
    """Remove what a daemon left beside the file that was killed while it wrote; what can't be removed is no trouble."""
    ours = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_left(entry)


def _remove_left(entry: os.DirEntry[str]) -> None:
    seen = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() and time.time() - seen.st_mtime > _LEFT_SECONDS:
        os.unlink(entry.path)


def _replace(dir_fd: int, name: str, text: bytes) -> None:
    temporary = f".{name}.{secrets.token_hex(4)}.tmp"  # hidden and without the ending: nobody collects it
    fd = os.open(temporary, _WRITE, _MODE, dir_fd=dir_fd)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, _MODE)  # node_exporter is another user, whatever our umask
            file.write(text)
        os.replace(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise


def _refuse_strangers(dir_fd: int, path: Path) -> None:
    try:
        fd = os.open(path.name, _READ, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        if is_file and os.read(fd, len(BEGINNING)) in (BEGINNING, b""):
            return
    finally:
        os.close(fd)
    why, cure = "something that ckptd did not write lies there", "name another file in health.textfile"
    raise StorageError("write the metrics", path=path, why=why, cure=cure)
