"""Read the mark of a root whose daemon is another user: `watch.guard` trusts what lies in a `.ckptd` of our own alone."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

from ckptd.watch.guard import ID_NAME, STATE_NAME, RootSight, look

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MARK = re.compile(rb"[0-9a-f]{32}\n?")


def look_as(root: str, user: int) -> RootSight:
    """Look at a root as its daemon does.

    Args:
        root: its path, links resolved.
        user: as whom the daemon works; root asks for it.
    """
    sight = look(root)
    return sight if sight.dev is None or user == os.geteuid() else sight._replace(root_id=_read_mark(root, user))


def _read_mark(root: str, user: int) -> str | None:
    with suppress(OSError):
        directory = os.open(f"{root}/{STATE_NAME}", _DIRECTORY)
        try:
            seen = os.fstat(directory)
            if seen.st_uid != user or seen.st_mode & 0o077:
                return None
            with os.fdopen(os.open(ID_NAME, _FILE, dir_fd=directory), "rb") as file:
                text = file.read(64) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        finally:
            os.close(directory)
        return text.decode("ascii").strip() if _MARK.fullmatch(text) else None
    return None
