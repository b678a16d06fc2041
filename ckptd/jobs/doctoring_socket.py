"""Look whether the daemon that runs can be talked to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.control.asking import find_sockets
from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity

_NAME = "socket"
#: A listener whose queue is full does not take us; a loop that stands still takes us and says nothing, which is no matter here.
_SECONDS = 2.0


def check_socket(patient: Patient) -> Iterator[Check]:
    """Knock at each place where the daemon may listen; nothing is asked."""
    if not patient.settings.control.enabled or patient.find_daemon() is None:
        return
    instance = None if patient.config is None else patient.config.stem
    places = find_sockets(patient.settings.control.socket, patient.state_dir, instance, os.environ)
    place = next((place for place in places if _listens(place)), None)
    if place is None:
        shown = " or ".join(map(str, places))
        why = f"nobody listens at {shown}: it is a single pass that runs, or a daemon that can't listen there"
        yield bad(_NAME, why, "the beginning of its log says why; control.socket names another place", Severity.INFO)
    else:
        yield good(_NAME, f"somebody listens at {place}")


def _listens(place: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as end:
        end.settimeout(_SECONDS)
        directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # by the directory's descriptor: the path of a socket has 107 bytes at most
            end.connect(f"/proc/self/fd/{directory}/{place.name}")
        finally:
            os.close(directory)
        return True
    return False
