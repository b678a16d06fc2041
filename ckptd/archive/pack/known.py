"""Which objects the archives of a directory have already, so that a new one need not store them again."""

from __future__ import annotations

import os

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack.opening import FORMAT_NAME, opened_file, read_table
from ckptd.archive.pack.table import Objects, Place
from ckptd.archive.pack.trouble import DamageError

#: So many objects of earlier archives are looked through for equals, those of the newest first: 200 bytes of memory each.
_MOST_KNOWN = 400_000
_KEY_BYTES = 16


class Known:
    """The objects of earlier archives, by digest.

    What lies there is believed by nobody: who wants to use an object reads and compares it first.
    """

    def __init__(self) -> None:
        self._lists: list[Objects] = []
        self._found: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, objects: Objects) -> None:
        """Learn the objects of an archive; what is known already is left out, and so is more than enough.

        Raises:
            DamageError: it lists what can't be.
        """
        self._lists.append(objects)
        for number, place in enumerate(objects):
            if len(self._found) >= _MOST_KNOWN:
                return
            self._found.setdefault(place.sha256[:_KEY_BYTES], (len(self._lists) - 1) << 32 | number)

    def find(self, sha256: bytes) -> tuple[bytes, Place] | None:
        """Give the id of the object file and the place of the object with this digest; None when no archive has it."""
        found = self._found.get(sha256[:_KEY_BYTES])
        if found is None:
            return None
        objects = self._lists[found >> 32]
        place = objects[found & 0xFFFFFFFF]
        return (objects.files[place.file], place) if place.sha256 == sha256 else None


def read_known(directory: int) -> Known:
    """Learn what the archives of a directory have; one that can't be read has nothing.

    Raises:
        OSError: the directory can't be listed.
    """
    known = Known()
    for name in sorted(os.listdir(directory), reverse=True):
        if not name.endswith(f".{FORMAT_NAME}"):
            continue
        if len(known) >= _MOST_KNOWN:
            break
        try:
            with opened_file(directory, name) as fd:
                known.add(read_table(fd).objects.alone())
        except (ArchiveError, DamageError, OSError):
            continue  # its objects are stored again
    return known
