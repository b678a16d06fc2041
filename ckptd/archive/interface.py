"""What an archive format does: write, read back, say what is in it, give one member back.

The rule that all of it serves: an original may go only after its archive was read back from disk and every digest matched.
So `write` leaves a whole file that is synced, `verify` believes nothing that `write` knew, and both stop at the first byte
that is not what the manifest says.

Everything in an archive is hostile when it is read: archives are copied, mailed and kept on shares where others write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from ckptd.errors import CkptdError
from ckptd.model import Json

#: Told how many bytes of all members were worked through so far; it may raise to stop the work, and nothing is left then.
Progress = Callable[[int], None]

MANIFEST_NAME = "MANIFEST.json"
SUMS_NAME = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Member:
    """One file that is to be put away.

    Attributes:
        name: where it lies in the archive, relative, "/" between parts; usually its path below its root.
        what: "checkpoint", "sidecar" or "export".
        open: gives a descriptor of the file, opened to read and without following links; the format closes it.
        size_bytes: of the file as the caller saw it.
        sha256: what the caller knows it to be; what turns out as something else is no member.
        mtime_ns, mode: as `stat` gives them.
        facts: what the manifest says of it beyond that (root, group, metrics, reasons …); plain JSON.
    """

    name: str
    what: str
    open: Callable[[], int]
    size_bytes: int
    sha256: str
    mtime_ns: int
    mode: int = 0o640
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as a manifest names it.

    Attributes:
        name: as in `Member`; checked: relative, no "..", no NUL, at most 4,096 bytes.
        sha256: lower-case hex.
    """

    name: str
    what: str
    size_bytes: int
    sha256: str
    mtime_ns: int
    mode: int
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says that it holds.

    Attributes:
        created_at: seconds since the epoch, UTC.
        program: who wrote it ("ckptd 0.1.0").
        entries: in the order of the archive.
    """

    format: str
    created_at: float
    program: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """An archive that was written and synced; not yet read back.

    Attributes:
        name: of the file in the archive directory.
        sha256: of that file.
        size_bytes: of that file, and of what else was added for it.
    """

    name: str
    sha256: str
    size_bytes: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Lost:
    """A member that can't be had from an archive any more.

    Attributes:
        name: of the member; "" when it concerns the archive as a whole.
        why: one phrase ("its bytes differ from the manifest: they were changed after they were written").
    """

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading an archive from its first to its last byte gave.

    Attributes:
        manifest: None when not even that can be read.
        good: names of the members whose every byte is right.
        lost: the others, and what is wrong with the archive itself.
    """

    manifest: Manifest | None
    good: tuple[str, ...]
    lost: tuple[Lost, ...]

    @property
    def is_whole(self) -> bool:
        """Say whether every member that the manifest names is right, and nothing else is wrong."""
        return self.manifest is not None and not self.lost and len(self.good) == len(self.manifest.entries)


class ArchiveError(CkptdError):
    """An archive can't be written or read; what was there before is as it was."""

    permanent = False


class MemberChangedError(ArchiveError):
    """A file is no longer what the caller knew it to be; `member` is its name in the archive.  Leave it out and write again."""

    def __init__(self, member: str, why: str) -> None:
        super().__init__("archive a file", path=member, why=why, cure="it is looked at again at the next run")
        self.member = member


class Format(Protocol):
    """One archive format.  Every `directory` is a readable descriptor of the directory that holds the archives.

    Threading: stateless; two writers in one directory are the caller's to avoid (the job lock does).
    """

    #: As people and settings name it ("tar.gz").
    name: ClassVar[str]
    #: Ending of the file ("tar.gz").
    suffix: ClassVar[str]

    def write(
        self, directory: int, name: str, members: Sequence[Member], *, now: float, free_bytes: int, progress: Progress
    ) -> Receipt:
        """Write an archive: a temporary name, every byte synced, then its name, which did not exist before.

        Args:
            directory: where it goes.
            name: of the file, without any "/".
            members: at least one, names unique.
            now: seconds since the epoch, for the manifest.
            free_bytes: what has to stay free on the file system; checked while it grows.
            progress: see `Progress`.

        Raises:
            MemberChangedError: a member is not what it was; nothing is left.
            ArchiveError: the disk said no, or the name exists; nothing is left.
        """
        ...

    def read_manifest(self, directory: int, name: str) -> Manifest:
        """Read what an archive says that it holds, without reading all of it.

        Raises:
            ArchiveError: it can't be read, or is no archive of this format.
        """
        ...

    def verify(self, directory: int, name: str, progress: Progress) -> Verification:
        """Read all of it from the disk and compare every digest; damage is an answer and no exception.

        Raises:
            ArchiveError: the file can't be opened.
        """
        ...

    def restore(self, directory: int, name: str, member: str, target: int) -> None:
        """Write one member into an open, empty file and check its digest; without reading the others where that is possible.

        Args:
            directory: where the archive lies.
            name: of its file.
            member: its name in the manifest.
            target: a writable descriptor of an empty file; it may hold part of the bytes when an exception was raised.

        Raises:
            ArchiveError: it is not there, or not what the manifest says any more.
        """
        ...

    def remove(self, directory: int, name: str) -> int:
        """Remove an archive and what only it used; the bytes that came back.

        Raises:
            ArchiveError: the disk said no.
        """
        ...
