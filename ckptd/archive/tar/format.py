"""What `tar.gz` and `tar.zst` do alike; each is a class with its codec, beside that codec."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from ckptd.archive.faults import translated
from ckptd.archive.interface import ArchiveError, Manifest, Member, Progress, Receipt, Verification
from ckptd.archive.manifest import manifest_of
from ckptd.archive.placing import open_to_read, remove_archive
from ckptd.archive.tar.frames import Codec, DamageError
from ckptd.archive.tar.restoring import Source, load_catalog, restore_member
from ckptd.archive.tar.verifying import verify_archive
from ckptd.archive.tar.writing import write_archive
from ckptd.storage.faults import place_of


class TarFormat:
    """A format of tar; see `Format` for each function."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    codec: ClassVar[type[Codec]]

    def write(
        self, directory: int, name: str, members: Sequence[Member], *, now: float, free_bytes: int, progress: Progress
    ) -> Receipt:
        """Write an archive."""
        manifest = manifest_of(self.name, members, now)
        return write_archive(
            self.codec(), manifest, members, directory, name, self._top(name), free_bytes=free_bytes, progress=progress
        )

    def read_manifest(self, directory: int, name: str) -> Manifest:
        """Read what an archive says that it holds."""
        with self._source("read an archive", directory, name) as source:
            return load_catalog(source).manifest

    def verify(self, directory: int, name: str, progress: Progress) -> Verification:
        """Read all of it and compare every digest."""
        with self._source("read an archive back", directory, name) as source:
            return verify_archive(source.codec, source.fd, progress)

    def restore(self, directory: int, name: str, member: str, target: int) -> None:
        """Write one member into an open, empty file."""
        with self._source("restore a file from an archive", directory, name) as source:
            restore_member(source, member, target)

    def remove(self, directory: int, name: str) -> int:
        """Remove an archive."""
        return remove_archive(directory, name)

    def _top(self, name: str) -> bytes:
        return (name.removesuffix(f".{self.suffix}") or name).encode("utf-8", "surrogateescape")

    @contextmanager
    def _source(self, what: str, directory: int, name: str) -> Iterator[Source]:
        fd = open_to_read(directory, name)
        try:
            with translated(what, directory, name):
                yield Source(fd, self.codec(), self._top(name))
        except DamageError as error:
            raise ArchiveError(what, path=place_of(directory, name), why=error.why) from error
        finally:
            os.close(fd)
