"""The last line of each file that is put in place: it tells ours from others', and from ours that a person changed."""

from __future__ import annotations

import hashlib
import re
from enum import Enum

_LINE = "# Written by ckptd; the lines above have the SHA-256 {}\n"
_PATTERN = re.compile(rb"# Written by ckptd; the lines above have the SHA-256 ([0-9a-f]{64})\n\Z")


class Standing(Enum):
    """What lies at a place where a file of ours belongs."""

    MISSING = "not there"
    SAME = "in place"
    #: Written by an install before this one, and as it was written.
    OLDER = "from another install"
    #: Ours, and changed by a person since.
    CHANGED = "changed by hand"
    FOREIGN = "not written by ckptd"

    @property
    def is_ours(self) -> bool:
        """True when it may be replaced and removed."""
        return self in (Standing.SAME, Standing.OLDER)


def stamp(text: str) -> str:
    """Add the line to a text that ends with a line break."""
    return text + _LINE.format(hashlib.sha256(text.encode()).hexdigest())


def judge(found: bytes | None, wanted: str | None) -> Standing:
    """Say what was found.

    Args:
        found: the content; None when there is no such file.
        wanted: what an install of today writes, with its stamp; None when it writes no such file.
    """
    if found is None:
        return Standing.MISSING
    if wanted is not None and found == wanted.encode():
        return Standing.SAME
    line = _PATTERN.search(found)
    if line is None:
        return Standing.FOREIGN
    return Standing.OLDER if hashlib.sha256(found[: line.start()]).hexdigest().encode() == line[1] else Standing.CHANGED
