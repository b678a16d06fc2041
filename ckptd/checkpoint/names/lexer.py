"""Cut a name into words and numbers; every step is linear in the length of the name."""

from __future__ import annotations

import re
from typing import NamedTuple

from ckptd.checkpoint.names.words import SUFFIXES

#: A file name has at most 255 bytes on the file systems in use.
MAX_NAME = 255

_ATOM = re.compile(
    r"(?<![A-Za-z0-9])[fF]1(?=[5-9][0-9](?:[^0-9]|$)|0\.[0-9]|(?:100)?(?:[^0-9]|$))"  # f1, and f192: F1 of 92 %
    r"|(?<![A-Za-z0-9])(?:[lL][12]|[tT]op-?[15]|[aA]cc[15]|[mM]?AP(?:5095|05|50|75)|m?ap(?:5095|05|50|75)|mAP(?:5095|05|50|75)"
    r"|[bB][lL][eE][uU][-_]?[1-4]|[rR][oO][uU][gG][eE][12]|[rR]2|prec[15])(?![0-9.])"
    r"|[^\W\d_]*[a-z](?=(?:F1|R2)(?![0-9]))|(?<=[a-z])(?:F1|R2)(?![0-9])"  # valF1, trainR2
    r"|[0-9]+(?:\.[0-9]+)*(?:[eE][-+][0-9]{1,3}(?![0-9A-Za-z]))?"
    r"|[^\W\d_]+"
)
_INNER_SUFFIX = re.compile(r"\.(?:pth|pt|ckpt|tar|th|bin|pkl|h5)(?![A-Za-z0-9])")


class Atom(NamedTuple):
    """A run of letters, or a number.

    Attributes:
        text: as written; low: in lower case.
        glued: True when nothing stands between it and the atom before.
        sign: "-" when a minus belongs to the number ("loss_-0.5").
    """

    text: str
    low: str
    start: int
    end: int
    number: bool
    glued: bool
    sign: str

    @property
    def integer(self) -> int | None:
        """The number, None when it is none or has a fraction, an exponent or more digits than a count of anything."""
        return int(self.text) if len(self.text) <= 12 and self.text.isascii() and self.text.isdigit() else None


def split_suffix(name: str) -> str:
    """Take the suffixes of checkpoint files off a name, also the two of `.pth.tar`."""
    stem = name[:MAX_NAME]
    for _ in range(4):
        dot = stem.rfind(".")
        if dot <= 0 or stem[dot:].lower() not in SUFFIXES:
            break
        stem = stem[:dot]
    # "Epoch100-Loss0.07.pth-Val_Loss0.0075.pth": a suffix in the middle is a separator.
    return _INNER_SUFFIX.sub(lambda match: "-" * len(match[0]), stem) if "." in stem else stem


def lex(stem: str) -> list[Atom]:
    """Cut a stem into atoms, in order."""
    atoms = []
    last = -1
    for match in _ATOM.finditer(stem):
        start, end = match.span()
        text = match[0]
        number = "0" <= text[0] <= "9"
        # A minus is a sign only after another separator; after a word it is one itself ("acc-0.9").
        sign = "-" if number and start > 1 and stem[start - 1] == "-" and stem[start - 2] in "_=:@" else ""
        atoms.append(Atom(text, text.lower(), start, end, number, start == last, sign))
        last = end
    return atoms
