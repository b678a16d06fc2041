"""Exports of ours, so that a look at the disk passes them over: `model_scripted.pt` is no checkpoint that came.

A file is ours when it lies where we placed it and is the very file (inode, size, mtime), which costs one look into a table.
One that is not, and has the digest of one of our exports, was copied, moved or restored: it was read once to know that, and
is ours from then on.  Any other file in the place of one of ours is somebody's, and a newcomer.

What is held in memory is small and does not grow with what is gone: places only of what lies there, and of digests and of
checkpoints a number each.  The index has the rest and is asked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any

from ckptd.errors import IndexUnavailableError
from ckptd.export.targets import TARGETS
from ckptd.index.store import Store
from ckptd.jobs.reading import Place
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.exports import render_exports
from ckptd.model import Identity, RawIdentity
from ckptd.storage.beneath import open_parent_beneath
from ckptd.storage.compare import digest_of

#: The longest file in the place of one of ours that is hashed, in the loop's own time, to see whether it is one.
MOST_HASHED_BYTES = 256 << 20
#: What the names of exports end in; a bulk of new checkpoints is spared a question each.
_ENDINGS = tuple(target.ending for target in TARGETS)


class OwnExports:
    """Know the exports that lie below the roots.

    Threading: belongs to the loop.

    Args:
        roots: by number.
        store: what is known.
    """

    def __init__(self, roots: list[WatchedRoot], store: Store) -> None:
        self._roots = roots
        self._store = store
        self._files: list[dict[str, RawIdentity]] = [{} for _ in roots]
        self._digests: set[int] = set()
        # None, where the size of one of ours is not known: then a file of any size may be one.
        self._sizes: set[int | None] = set()
        self._exported: set[int] = set()

    def load(self) -> None:
        """Take over what the index knows; at the start, and when the index was written by somebody else."""
        for root in self._roots:
            for path, (identity, sha256) in self._store.load_own_exports(root.path).items():
                self.add((root.number, path), identity, sha256)
            # Another digest than the one above, where a kill came between the note of a new file and its place.
            for digest, size_bytes in self._store.load_export_digests(root.path).items():
                self._digests.add(_shorten(digest))
                self._sizes.add(size_bytes)
            self._exported |= {hash((root.number, path)) for path in self._store.load_exported_places(root.path)}

    def look_up(self, places: Iterable[Place]) -> None:
        """Ask the index about files that arrived: `ckptd export` places files while the daemon runs.

        It is asked only about names that an export may have; whether one is ours it says by place and identity.
        """
        by_root: dict[int, list[str]] = {}
        for number, path in places:
            if path.endswith(_ENDINGS):
                by_root.setdefault(number, []).append(path)
        for number, paths in by_root.items():
            with suppress(IndexUnavailableError):
                for path, (identity, sha256) in self._store.load_own_exports(self._roots[number].path, paths).items():
                    self.add((number, path), identity, sha256)

    def add(self, place: Place, identity: RawIdentity | None, sha256: str) -> None:
        """Note a file of ours, before the loop looks at what happened there."""
        self._digests.add(_shorten(sha256))
        self._sizes.add(None if identity is None else identity[2])
        if identity is not None:
            self._files[place[0]][place[1]] = identity

    def is_own(self, place: Place, identity: RawIdentity) -> bool:
        """Say whether the file that lies there is the one that we placed there; chmod and mount change nothing about that."""
        known = self._files[place[0]].get(place[1])
        return known is not None and known[1:4] == identity[1:4]

    def is_exact(self, place: Place, identity: RawIdentity) -> bool:
        """Say whether a file is noted just as it is, so that not a byte of it can have changed since."""
        known = self._files[place[0]].get(place[1])
        return known is not None and known[1:] == identity[1:]

    def is_content(self, sha256: str | None) -> bool:
        """Say whether bytes are those of one of our exports."""
        return sha256 is not None and _shorten(sha256) in self._digests

    def lies_there(self, root: WatchedRoot, path: str) -> bool:
        """Say whether a file that we placed is still there."""
        try:
            dir_fd, name = open_parent_beneath(root.handle.fd, path)
        except OSError:
            return False
        try:
            return self.is_own((root.number, path), Identity.of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False)))
        except OSError:
            return False
        finally:
            os.close(dir_fd)

    def find_own(self, root: WatchedRoot, dir_fd: int, path: str, name: str) -> Identity | None:
        """Give the identity of a file of ours that may be replaced; None where nothing lies, or what lies there is not ours.

        Args:
            root: where it lies.
            dir_fd: its directory.
            path: relative to the root.
            name: the last part of it.
        """
        try:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            seen, place = Identity.of(status), (root.number, path)
            if not self.is_own(place, seen):  # a command and the daemon export side by side
                self.look_up((place,))
            if self.is_exact(place, seen):
                return seen
            if seen.size_bytes > MOST_HASHED_BYTES and self.is_own(place, seen):
                return seen  # the very file, but for its ctime; to read gigabytes here would hold up the loop
            worth_a_read = self._may_be_ours(seen) and seen.size_bytes <= MOST_HASHED_BYTES
            if stat.S_ISREG(status.st_mode) and worth_a_read and self.is_content(digest_of(dir_fd, name)):
                return seen
        except OSError:
            pass
        return None

    def _may_be_ours(self, seen: Identity) -> bool:
        """Say whether a file has the size of one of ours, so that a person's is not read for nothing at each look."""
        return seen.size_bytes in self._sizes or None in self._sizes

    def find_exporter(self, root: WatchedRoot, path: str, checkpoint: str) -> str | None:
        """Give a checkpoint, but for one, that is there and that a file is an export of.

        Args:
            root: where they lie.
            path: of the file, relative to the root.
            checkpoint: path of the one that is left out.

        Raises:
            IndexUnavailableError: it can't be read just now.
        """
        return next(iter(self._store.find_exporters(root.path, path, checkpoint)), None)

    def pass_over(self, number: int, files: MutableMapping[str, RawIdentity], *, is_whole: bool = False) -> None:
        """Take what is ours out of what a scan found.

        Args:
            number: of the root.
            files: what was found.
            is_whole: the scan was of all of the root: any other place that is noted is forgotten, and the index is asked about
                it, should it matter once more.
        """
        known = self._files[number]
        fewer, others = (known, files) if len(known) < len(files) else (files, known)
        own = [path for path, identity in fewer.items() if path in others and others[path][1:4] == identity[1:4]]
        if is_whole:
            self._files[number] = {path: known[path] for path in own}
        for path in own:
            del files[path]

    def note_export(self, place: Place) -> None:
        """Note that exports of a checkpoint are known, or were."""
        self._exported.add(hash(place))

    def has_exports(self, place: Place) -> bool:
        """Say whether exports of a checkpoint are known, or were; in one of 10^13 cases also where there were none."""
        return hash(place) in self._exported

    def find_stated(self, place: Place, sha256: str | None) -> dict[str, Any] | None:
        """Give what a sidecar is to say about exports of the content that lies at a place.

        None where nothing is known of any, and then what a sidecar says stays.  The index is asked only where there is an
        export: in a bulk of new files nothing is.

        Raises:
            IndexUnavailableError: it can't be read just now.
        """
        if not self.has_exports(place):
            return None
        known = self._store.load_exports(self._roots[place[0]].path, place[1])
        exports = [export for export in known if export.source_sha256 == sha256]
        return render_exports(exports) if exports else None


def _shorten(sha256: str) -> int:
    """Give 120 of the 256 bits, which no two files share either: a third of the memory that the text takes."""
    try:
        return int(sha256[:30], 16)
    except ValueError:  # somebody wrote to the index by hand; no file has such a digest
        return -1
