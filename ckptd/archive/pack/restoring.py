"""Give one member back: its objects are read, and nothing else of the archive."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack.opening import opened_file, read_archive
from ckptd.archive.pack.place import found_place
from ckptd.archive.pack.rebuilding import Rebuilder
from ckptd.archive.pack.sizes import WORKERS
from ckptd.archive.pack.trouble import BYTES_DIFFER, DamageError
from ckptd.storage.faults import place_of
from ckptd.text import escape


def restore_member(directory: int, name: str, member: str, target: int) -> None:
    """Write a member into an open, empty file; see `Format.restore`.

    Raises:
        ArchiveError: there is no such member, or no room for it.
        DamageError: it can't be put together any more.
        OSError: the disk says no.
    """
    with opened_file(directory, name) as fd:
        opened = read_archive(fd)
    pairs = zip(opened.manifest.entries, opened.table.recipes, strict=True)
    found = next((pair for pair in pairs if pair[0].name == member), None)
    if found is None:
        raise ArchiveError("restore a member", path=place_of(directory, name), why=f"it holds no {escape(member)!r}")
    entry, recipe = found
    _check_room(target, entry.size_bytes)
    digest = hashlib.sha256()
    with found_place(directory) as place, ThreadPoolExecutor(WORKERS, "ckptd-pack") as pool:
        # The threads that decompress write, too: this one has enough to do with the digest.
        rebuilder = Rebuilder(pool, place, opened.table.objects, functools.partial(_write, target))
        for data in rebuilder.rebuild(recipe, entry.size_bytes):
            digest.update(data)
    if digest.hexdigest() != entry.sha256:
        raise DamageError(f"{escape(member)}: {BYTES_DIFFER}")


def _write(target: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        count = os.pwrite(target, data[done:], offset + done)
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done += count


def _check_room(target: int, size_bytes: int) -> None:
    """Refuse at once what can't fit, for an archive may say of itself that it is as large as it likes."""
    now = os.fstatvfs(target)
    if size_bytes > now.f_bavail * now.f_frsize:
        raise ArchiveError("restore a member", why=f"it has {size_bytes:,} bytes, more than are free there")
