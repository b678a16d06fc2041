"""Read an archive and every object that it uses back from the disk, and put each member together to compare its digest.

The digest that counts is that of a member, so each member is rebuilt, and what members share is decompressed for each of them:
that is faster than hashing, and leaves nothing to be believed.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from ckptd.archive import placing
from ckptd.archive.interface import Entry, Lost, Progress, Verification
from ckptd.archive.pack.objects import forget_object_file
from ckptd.archive.pack.opening import Opened, opened_file, read_both
from ckptd.archive.pack.place import found_place
from ckptd.archive.pack.rebuilding import Rebuilder
from ckptd.archive.pack.sizes import WORKERS
from ckptd.archive.pack.table import Recipe
from ckptd.archive.pack.trouble import BYTES_DIFFER, DamageError


def verify_archive(directory: int, name: str, progress: Progress) -> Verification:
    """Read all of an archive; see `Format.verify`.

    Raises:
        ArchiveError: the archive file can't be opened.
        OSError: the disk says no.
    """
    with opened_file(directory, name) as fd:
        placing.forget_cached(fd)
        try:
            opened, why = read_both(fd)
        except DamageError as error:
            return Verification(None, (), (Lost("", error.why),))
    with found_place(directory) as place:
        good, lost = _verify_members(place, opened, progress)
    if why:
        lost.insert(0, Lost("", why))
    return Verification(opened.manifest, tuple(good), tuple(lost))


def _verify_members(place: int | None, opened: Opened, progress: Progress) -> tuple[list[str], list[Lost]]:
    good: list[str] = []
    lost: list[Lost] = []
    objects = opened.table.objects
    if place is not None:
        for file_id in objects.files:
            forget_object_file(place, file_id)
    with ThreadPoolExecutor(WORKERS, "ckptd-pack") as pool:
        rebuilder = Rebuilder(pool, place, objects)
        counter = _Counter(progress)
        for entry, recipe in zip(opened.manifest.entries, opened.table.recipes, strict=True):
            why = _check(rebuilder, entry, recipe, counter)
            if why:
                lost.append(Lost(entry.name, why))
            else:
                good.append(entry.name)
    return good, lost


class _Counter:
    """Tells how many bytes of all members were worked through; a lost one counts whole."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def add(self, length: int) -> None:
        self._done += length
        self._progress(self._done)


def _check(rebuilder: Rebuilder, entry: Entry, recipe: Recipe, counter: _Counter) -> str:
    """Give what is wrong with a member; "" for nothing."""
    digest = hashlib.sha256()
    left = entry.size_bytes
    try:
        for data in rebuilder.rebuild(recipe, entry.size_bytes):
            digest.update(data)
            left -= len(data)
            counter.add(len(data))
    except DamageError as error:
        counter.add(left)
        return error.why
    return "" if digest.hexdigest() == entry.sha256 else BYTES_DIFFER
