"""What goes wrong with a pack, as errors that a person reads."""

from __future__ import annotations

from types import TracebackType

from ckptd.archive.faults import archive_error
from ckptd.archive.interface import ArchiveError
from ckptd.archive.manifest import ManifestError
from ckptd.storage.faults import place_of

BYTES_DIFFER = "its bytes differ from the manifest: they were changed after they were written"


class DamageError(Exception):
    """Bytes of an archive or of its objects that are not what they should be; `why` is one phrase, harmless to show."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class translated:  # noqa: N801 — a context manager, like the one of `ckptd.archive.faults`
    """Raise `ArchiveError` in place of any `OSError`, `DamageError` and `ManifestError` of the block."""

    __slots__ = ("directory", "name", "what")

    def __init__(self, what: str, directory: int, name: str) -> None:
        self.what = what
        self.directory = directory
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise archive_error(self.what, self.directory, self.name, error) from error
        if isinstance(error, DamageError | ManifestError):
            raise ArchiveError(self.what, path=place_of(self.directory, self.name), why=error.why) from error
