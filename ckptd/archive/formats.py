"""The archive formats.  A new one is a class with the `Format` protocol and one line here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple, cast

from ckptd.archive.interface import ArchiveError, Format
from ckptd.text import escape


class Place(NamedTuple):
    """Where a format is; it is imported when it is asked for, and what it needs with it.

    Attributes:
        name: as people and settings name it.
        place: module and class.
        package: what it imports beyond what ckptd always has; "" for nothing.
        extra: of ckptd, that brings this package.
    """

    name: str
    place: str
    package: str = ""
    extra: str = ""


FORMATS: tuple[Place, ...] = (
    Place("tar.gz", "ckptd.archive.tar.gzipped:GzipTar"),
    Place("tar.zst", "ckptd.archive.tar.zstd:ZstdTar", "zstandard", "zstd"),
    Place("pack", "ckptd.archive.pack.format:PackFormat", "blosc2", "pack"),
)


def find_format(name: str) -> Format:
    """Give a format by its name.

    Raises:
        ArchiveError: there is none of that name, or the package that it needs is not installed.
    """
    for format_ in FORMATS:
        if format_.name == name:
            return _imported(format_)
    known = ", ".join(format_.name for format_ in FORMATS)
    raise ArchiveError("find an archive format", why=f"there is no {escape(name)!r}", cure=f"take one of {known}")


def format_of(name: str) -> Format | None:
    """Give the format of an archive by the name of its file; None when no format ends so.

    Raises:
        ArchiveError: the package that it needs is not installed.
    """
    for format_ in FORMATS:
        if name.endswith(f".{format_.name}"):
            return _imported(format_)
    return None


def _imported(format_: Place) -> Format:
    if format_.package and importlib.util.find_spec(format_.package) is None:
        why, cure = f"the package {format_.package} is not installed", f"pip install 'ckptd[{format_.extra}]'"
        raise ArchiveError(f"use the archive format {format_.name}", why=why, cure=cure)
    module, name = format_.place.split(":")
    return cast("Format", getattr(importlib.import_module(module), name)())
