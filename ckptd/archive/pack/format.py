"""`PackFormat`: the archive format that stores equal weights once.  The work is done by one file for each verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ckptd.archive.interface import Manifest, Member, Progress, Receipt, Verification
from ckptd.archive.pack.collecting import collect, remove_archive
from ckptd.archive.pack.opening import FORMAT_NAME, opened_file, read_archive
from ckptd.archive.pack.restoring import restore_member
from ckptd.archive.pack.trouble import translated
from ckptd.archive.pack.verifying import verify_archive
from ckptd.archive.pack.writing import write_archive


class PackFormat:
    """See `ckptd.archive.interface.Format`; two writers in one directory are refused here, too."""

    name: ClassVar[str] = FORMAT_NAME
    suffix: ClassVar[str] = FORMAT_NAME

    def write(
        self, directory: int, name: str, members: Sequence[Member], *, now: float, free_bytes: int, progress: Progress
    ) -> Receipt:
        """Write an archive."""
        with translated("write an archive", directory, name):
            return write_archive(directory, name, members, now=now, free_bytes=free_bytes, progress=progress)

    def read_manifest(self, directory: int, name: str) -> Manifest:
        """Read what an archive says that it holds."""
        with translated("read an archive", directory, name), opened_file(directory, name) as fd:
            return read_archive(fd).manifest

    def verify(self, directory: int, name: str, progress: Progress) -> Verification:
        """Read an archive and all objects that it uses from the disk."""
        with translated("verify an archive", directory, name):
            return verify_archive(directory, name, progress)

    def restore(self, directory: int, name: str, member: str, target: int) -> None:
        """Write one member into an open, empty file."""
        with translated("restore a member", directory, name):
            restore_member(directory, name, member, target)

    def remove(self, directory: int, name: str) -> int:
        """Remove an archive and the objects that no other archive uses."""
        with translated("remove an archive", directory, name):
            return remove_archive(directory, name)


def collect_garbage(directory: int) -> int:
    """Remove what writers that were killed left, and every object that no archive in the directory uses.

    Args:
        directory: a readable descriptor of the directory that holds the archives.

    Returns:
        The bytes that came back.

    Raises:
        ArchiveError: an archive can't be read, so that what it uses isn't known; another process is at work here; the disk
            said no.
    """
    with translated("collect what archives left", directory, "."):
        return collect(directory)
