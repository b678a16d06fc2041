"""The form of a bundle: a .tar.gz of a few small files, written whole, for its owner alone, and over nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ckptd.errors import StorageError
from ckptd.storage.atomic import write_new

#: Of one file in a bundle; what is longer is cut, and says so.
MOST_BYTES = 1 << 20
_CUT = b"\n[cut here: it is longer than a bundle takes]\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One file in a bundle.

    Attributes:
        name: of the file; ours, never out of a file.
        what: what it is, in a few words.
    """

    name: str
    what: str
    data: bytes

    @classmethod
    def of(cls, name: str, what: str, text: str) -> Part:
        """Make a part of a text, cut where it is too long."""
        data = text.encode("utf-8", "backslashreplace")
        return cls(name, what, data if len(data) <= MOST_BYTES else data[: MOST_BYTES - len(_CUT)] + _CUT)


def pack_parts(parts: list[Part], folder: str, at: float) -> bytes:
    """Make the bytes of a .tar.gz.

    Args:
        parts: of it, in order.
        folder: that all of them lie in.
        at: time of each file, seconds since the epoch.
    """
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=int(at)) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for part in parts:
            info = tarfile.TarInfo(f"{folder}/{part.name}")
            info.size, info.mtime, info.mode = len(part.data), int(at), 0o600
            tar.addfile(info, io.BytesIO(part.data))
    return raw.getvalue()


def write_alone(file: Path, data: bytes) -> None:
    """Write a file that nobody else may read, all of it or nothing, and never over one that exists.

    Raises:
        NameTakenError: the name is taken.
        StorageError: the disk said no.
    """
    try:
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError("write a bundle", path=file, why=os.strerror(error.errno or 0), cure="give another place") from error
    try:
        alone = os.stat_result((0o100600, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))
        write_new(directory, file.name, data, like=alone)
    finally:
        os.close(directory)
