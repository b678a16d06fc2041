"""Remove what no archive uses any more: whole object files, and in the others the parts between what is still used.

Objects never move: what an archive says about where they lie is true for as long as it is there, also for one who reads it
just now.  An archive that can't be read might use anything, and stops the collection.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Collection, Iterator

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack.opening import is_archive, opened_file, read_table
from ckptd.archive.pack.place import OBJECT_FILE_NAME, found_place, locked
from ckptd.archive.pack.punching import punch
from ckptd.archive.pack.table import OBJECT_FILE_HEAD_BYTES, Objects
from ckptd.archive.pack.trouble import DamageError
from ckptd.storage.beneath import entry_name
from ckptd.storage.faults import place_of
from ckptd.storage.temporary import TEMPORARY_NAME

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: `st_blocks` counts such blocks.  Source: stat(2).
_STAT_BLOCK_BYTES = 512


class Used:
    """What archives use: id of an object file → offsets and lengths, in pairs."""

    def __init__(self) -> None:
        self._parts: dict[bytes, array[int]] = {}

    def add(self, objects: Objects) -> None:
        """Note what an archive uses.

        Raises:
            DamageError: it lists what can't be.
        """
        for place in objects:
            self._parts.setdefault(objects.files[place.file], array("Q")).extend((place.offset, place.stored_bytes))

    def __contains__(self, file_id: bytes) -> bool:
        return file_id in self._parts

    def gaps(self, file_id: bytes, size_bytes: int) -> Iterator[tuple[int, int]]:
        """Give offset and length of each part of an object file that nobody uses; its head is used."""
        parts = self._parts[file_id]
        at = OBJECT_FILE_HEAD_BYTES
        for offset, length in sorted(zip(parts[::2], parts[1::2], strict=True)):
            if offset > at:
                yield at, min(offset, size_bytes) - at
            at = max(at, offset + length)
            if at >= size_bytes:
                return
        if at < size_bytes:
            yield at, size_bytes - at


def collect(directory: int) -> int:
    """Remove every object that no archive in the directory uses; the bytes that came back.

    Raises:
        ArchiveError: an archive can't be read, or another process is at work here; nothing was removed.
        OSError: the disk says no.
    """
    with found_place(directory) as place:
        if place is None:
            return 0
        with locked(place):
            return _collect(place, _read_used(directory, ()))


def remove_archive(directory: int, name: str) -> int:
    """Remove an archive and the objects that only it used; the bytes that came back.

    Raises:
        ArchiveError: it is no archive of this format, another one can't be read, or another process is at work here; nothing
            was removed.
        OSError: the disk says no.
    """
    mode = os.stat(entry_name(name), dir_fd=directory, follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode) or not is_archive(directory, name):
        raise DamageError("it is no archive of this format")
    with found_place(directory) as place:
        if place is None:
            return _unlink_archive(directory, name)
        with locked(place):
            used = _read_used(directory, (name,))
            return _unlink_archive(directory, name) + _collect(place, used)


def _unlink_archive(directory: int, name: str) -> int:
    freed = _unlink(directory, name)
    os.fsync(directory)  # before any object goes: a power cut must not bring back the name alone
    return freed


def _read_used(directory: int, without: Collection[str]) -> Used:
    used = Used()
    for name in sorted(os.listdir(directory)):
        if name in without:
            continue
        try:
            if is_archive(directory, name):
                with opened_file(directory, name) as fd:
                    used.add(read_table(fd).objects)
        except FileNotFoundError:
            continue  # gone by now
        except (ArchiveError, DamageError) as error:
            raise _unknown(directory, name, error.why) from error
    return used


def _unknown(directory: int, name: str, why: str) -> ArchiveError:
    return ArchiveError(
        "collect what archives left",
        path=place_of(directory, name),
        why=f"what it uses is not known, so that nothing can be removed: {why}",
        cure="remove it when it can't be mended, or move it to another directory",
    )


def _collect(place: int, used: Used) -> int:
    freed = 0
    for name in sorted(os.listdir(place)):
        match = OBJECT_FILE_NAME.fullmatch(name)
        if match is None:
            # While we hold the lock nobody writes, so a temporary file is what a kill left.  Anything else is not ours.
            freed += _unlink(place, name) if TEMPORARY_NAME.fullmatch(name) else 0
        elif (file_id := bytes.fromhex(match["id"])) in used:
            freed += _punch_gaps(place, name, file_id, used)
        else:
            freed += _unlink(place, name)
    os.fsync(place)
    return freed


def _punch_gaps(place: int, name: str, file_id: bytes, used: Used) -> int:
    fd = os.open(name, _OPEN, dir_fd=place)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return 0
        for offset, length in used.gaps(file_id, before.st_size):
            if not punch(fd, offset, length):
                return 0
        return max(0, _bytes_of(before) - _bytes_of(os.fstat(fd)))
    finally:
        os.close(fd)


def _unlink(directory: int, name: str) -> int:
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    os.unlink(name, dir_fd=directory)
    return _bytes_of(now) if now.st_nlink == 1 else 0


def _bytes_of(status: os.stat_result) -> int:
    return status.st_blocks * _STAT_BLOCK_BYTES
