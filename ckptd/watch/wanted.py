"""Which names are looked at: suffixes, ignore patterns, and names that are never a checkpoint.

Ignore patterns are globs on the path relative to the root, and case counts in them:
`*` and `?` stay within one name, `[a-z]` and `[!a-z]` are sets, `**` as a whole name stands for any number of directories;
a pattern without "/" (`tmp_*`, `wandb/`) holds at any depth, one with a "/" inside or in front (`/runs/*`, `runs/*.pth`)
from the root on; one that ends in "/" names directories only.  What an ignored directory holds is ignored with it.
Suffixes are matched without regard to case: `MODEL.PTH` off a Windows share is a checkpoint too.  What programs add to the
name of something unfinished (`x.pth.tmp`, `x.pth.part`, `x.pth~`) is no wanted suffix, and what they put in front is a dot
(rsync's `.x.pth.Ab12Cd`, NFS's `.nfs…`, our own): hidden names are never looked at, and hidden directories never entered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ckptd.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Wanted:
    """Precompiled rules; build it with `compile_wanted`.

    Attributes:
        suffixes: lower-case endings, each with its dot.
        ignored: matches relative paths to leave out; a directory's path must be given with a "/" at its end.
    """

    suffixes: tuple[str, ...]
    ignored: re.Pattern[str] | None = None

    def wants_name(self, name: str) -> bool:
        """Say whether a file of this name is looked at, ignore patterns aside."""
        if not name.endswith(self.suffixes) and not name.lower().endswith(self.suffixes):
            return False
        return name[0] != "."

    def wants_path(self, path: str) -> bool:
        """Say whether the file at this relative path would be found by a scan."""
        directory, _, name = path.rpartition("/")
        return name != "" and path[0] != "/" and self.wants_name(name) and self.enters(directory) and not self.ignores(path)

    def enters(self, directory: str) -> bool:
        """Say whether a scan would walk into the directory at this relative path ("" is the root)."""
        return directory == "" or (
            all(part != "" and part[0] != "." for part in directory.split("/")) and not self.ignores(directory + "/")
        )

    def ignores(self, path: str) -> bool:
        """Say whether an ignore pattern matches this path or a directory on the way to it."""
        return self.ignored is not None and self.ignored.match(path) is not None


def compile_wanted(suffixes: Iterable[str], ignore: Iterable[str] = ()) -> Wanted:
    """Compile the settings' suffixes and patterns.

    Raises:
        SettingsError: a suffix or a pattern is empty, or a set in a pattern makes no sense; the message names it.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    if not all(endings):
        raise SettingsError(("suffixes: an empty suffix would take every file",))
    try:
        patterns = [_translate(pattern) for pattern in ignore]
    except ValueError as error:
        raise SettingsError((f"ignore: {error}",)) from error
    return Wanted(endings, re.compile("|".join(patterns), re.DOTALL) if patterns else None)


def _translate(pattern: str) -> str:
    body = pattern.strip("/")
    if not body:
        raise ValueError(f"ignore pattern {pattern!r} names nothing")
    end = "/" if pattern.endswith("/") else r"(?:/|\Z)"
    anywhere = "/" not in pattern.rstrip("/")
    parts = body.split("/")
    text = "(?:[^/]+/)*" if anywhere else ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += "[^/]+" if last else "(?:[^/]+/)*"
        else:
            text += _translate_name(part, pattern) + ("" if last else "/")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"ignore pattern {pattern!r}: {error}") from None
    return f"(?:{text}){end}"


def _translate_name(part: str, pattern: str) -> str:
    text, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            if not text.endswith("[^/]*"):  # "a***" means "a*", and each further star would cost a power of time
                text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif char == "[":
            close = part.find("]", at + 2 if part[at : at + 1] == "!" else at + 1)
            if close < 0:
                raise ValueError(f"ignore pattern {pattern!r}: the set at {part[at - 1 :]!r} is not closed")
            negated = part[at] == "!"
            chosen = "".join(c if c == "-" or c.isalnum() else "\\" + c for c in part[at + negated : close])
            text += f"[^/{chosen}]" if negated else f"(?!/)[{chosen}]"
            at = close + 1
        else:
            text += re.escape(char)
    return text
