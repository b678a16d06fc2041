"""Talk to the service manager as sd_notify(3) does: READY, STATUS, WATCHDOG, RELOADING, STOPPING.

Without NOTIFY_SOCKET in the environment nothing is said, and nothing is wrong.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

#: How long a full queue of systemd's is waited for, seconds.
_PATIENCE_SECONDS = 2.0
#: Characters of a STATUS; a longer one is cut.
_STATUS_LIMIT = 480


class ServiceManager:
    """The end of systemd's notification socket.

    Args:
        environ: holds NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; `os.environ` when None.

    Attributes:
        watchdog_seconds: how long systemd waits for a sign of life; None when it does not.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        name = environ.get("NOTIFY_SOCKET", "")
        # Source: sd_notify(3); "@" is the abstract name space.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._status = ""
        self.watchdog_seconds = _find_watchdog(environ) if name else None

    def ready(self, status: str) -> None:
        """Say that the start, or a reload, is complete."""
        self._tell("READY=1", f"STATUS={self._take(status)}", patience=_PATIENCE_SECONDS)

    def reloading(self) -> None:
        """Say that the settings are read anew.  Source: sd_notify(3), MONOTONIC_USEC goes with RELOADING."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}", patience=_PATIENCE_SECONDS)

    def stopping(self, status: str) -> None:
        """Say that the end began."""
        self._tell("STOPPING=1", f"STATUS={self._take(status)}")

    def say(self, status: str) -> None:
        """Say what goes on, if it is something else than before."""
        before = self._status
        if self._take(status) != before:
            self._tell(f"STATUS={self._status}")

    def alive(self) -> None:
        """Say that all is well, so that the watchdog does not bite."""
        self._tell("WATCHDOG=1")

    def _take(self, status: str) -> str:
        self._status = " ".join(status.split())[:_STATUS_LIMIT]  # a line break would begin another assignment
        return self._status

    def _tell(self, *lines: str, patience: float = 0.0) -> None:
        """Send it, and wait so long for room: what is said only once must not get lost, and what is said often may."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end, suppress(OSError):
            end.settimeout(patience)
            end.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def _find_watchdog(environ: Mapping[str, str]) -> float | None:
    """Read sd_watchdog_enabled(3): WATCHDOG_USEC counts when WATCHDOG_PID is not there or is ours."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 else None
