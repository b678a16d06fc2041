"""What a symbolic link below a root means: an alias of something in the root, or a pointer out of it."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from ckptd.model import Finding, Severity
from ckptd.text import escape
from ckptd.watch.wanted import Wanted


class Link(NamedTuple):
    """A link to something in the same root; `target` is relative to the root, with every link on the way resolved."""

    target: str


def read_link(root_fd: int, path: str, wanted: Wanted) -> Link | Finding | None:
    """Read the link at a relative path: where it leads, or a finding why it is of no use; None when it does not matter.

    The answer is only told, never opened: between this look and the next use a neighbour may turn the link elsewhere.
    Links to directories matter whatever their name: people park old runs on another disk and wonder why they are not seen.
    """
    name = path.rpartition("/")[2]
    if name.startswith(".") or wanted.ignores(path):
        return None
    root = os.readlink(f"/proc/self/fd/{root_fd}")
    try:
        real = os.path.realpath(f"{root}/{path}", strict=True)  # strict: a loop of links is an error, not a path
        target = os.stat(real, follow_symlinks=False)
    except OSError:
        return _find(path, "link-broken", "leads nowhere") if wanted.wants_name(name) else None
    if real == root:
        return None
    is_directory = stat.S_ISDIR(target.st_mode)
    if not is_directory and not wanted.wants_name(name):
        return None
    inside = real.startswith(root.rstrip("/") + "/")
    if inside:
        relative = real[len(root.rstrip("/")) + 1 :]
        seen = wanted.enters(relative) if is_directory else stat.S_ISREG(target.st_mode) and wanted.wants_path(relative)
        return Link(relative) if seen else _find(path, "link-unwatched", "links to a name in this root that is not looked at")
    kind = "a directory" if is_directory else "a file"
    return _find(path, "link-outside", f"links to {kind} outside this root, not followed; add that place as a root")


def _find(path: str, code: str, message: str) -> Finding:
    return Finding(code, Severity.INFO, f"{escape(path)} {message}")
