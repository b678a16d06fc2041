"""Wait for descriptors, of whatever number: select() ends at descriptor 1,023."""

from __future__ import annotations

import select
from collections.abc import Iterable


def wait_readable(fds: Iterable[int], seconds: float) -> bool:
    """Wait until one of these descriptors can be read, or its other end is closed, no longer than that; say whether one can."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
