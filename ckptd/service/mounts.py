"""What a service that runs can write: what was not there when it started stays read-only for it until it starts again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def find_unreached(pid: int, paths: Iterable[Path], proc: Path = _PROC) -> tuple[Path, ...]:
    """Give those directories that can be written here, and not by a process, as that one's mounts are.

    Args:
        pid: of the process; where it is gone, nothing is known and nothing is given.
        paths: that are there; absolute, links resolved.
        proc: where proc(5) is mounted.
    """
    try:
        own, its = ((proc / name / "mountinfo").read_text("utf-8", "surrogateescape") for name in ("self", str(pid)))
    except OSError:
        return ()
    return tuple(path for path in paths if is_writable(own, path) and not is_writable(its, path))


def is_writable(mountinfo: str, path: Path) -> bool:
    """Tell whether the mount that a path lies on may be written; of two at one place the later one counts.

    Source: proc(5), /proc/pid/mountinfo: the fifth field is the mount point, the sixth has its options.
    """
    best, options = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]))
        if path.is_relative_to(place) and len(place.parts) >= best:
            best, options = len(place.parts), fields[5]
    return "rw" in options.split(",")
