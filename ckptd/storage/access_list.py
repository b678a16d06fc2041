"""The access list of a file: rights of further users and groups, as the kernel keeps them in an extended attribute.

Source: acl(5); linux/posix_acl_xattr.h and linux/posix_acl.h: a version, then entries of tag, rights and number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_NAME = "system.posix_acl_access"
_HEADER, _ENTRY = struct.pack("<I", 2), struct.Struct("<HHI")

#: Tags.  Of OWNER, GROUP_OWNER, MASK and OTHERS there is one each, and their number is NOBODY.
OWNER, USER, GROUP_OWNER, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFFFFFF


class Entry(NamedTuple):
    """One entry.

    Attributes:
        tag: whom it is about.
        rights: as three bits of a mode.
        number: of the user or group.
    """

    tag: int
    rights: int
    number: int = NOBODY


def read_access_list(path: str | Path) -> list[Entry]:
    """Read the list of a file, links followed; nothing where there is none, or where it can't be read."""
    try:
        data = os.getxattr(path, _NAME)
    except OSError:
        return []
    if not data.startswith(_HEADER) or (len(data) - len(_HEADER)) % _ENTRY.size:
        return []
    return [Entry(*entry) for entry in _ENTRY.iter_unpack(data[len(_HEADER) :])]


def write_access_list(path: str | Path, entries: Iterable[Entry]) -> None:
    """Give a file a list, links followed.

    Args:
        path: of the file.
        entries: by tag, and among those of one tag by number.

    Raises:
        OSError: the file system keeps none, or the entries make none.
    """
    os.setxattr(path, _NAME, _HEADER + b"".join(_ENTRY.pack(*entry) for entry in entries))


def drop_access_list(path: str | Path) -> None:
    """Take the list of a file away, if it has one that can be taken."""
    with suppress(OSError):
        os.removexattr(path, _NAME)
