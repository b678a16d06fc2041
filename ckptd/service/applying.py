"""Do the steps of a plan."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ckptd.service.faults import ServiceError, translated
from ckptd.service.steps import AskManager, MakeDirectory, MakeUser, RemoveFile, Step, WriteFile
from ckptd.service.surroundings import USER
from ckptd.service.systemctl import Systemctl, make_user
from ckptd.storage.atomic import Outcome, exchange_if_same, write_new

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SHARED_MODE = 0o2775


class Applier:
    """Does steps, one after the other.

    Args:
        manager: the service manager.
        make_user: makes the users of a file of sysusers.d(5).
    """

    def __init__(self, manager: Systemctl, make_user: Callable[[Path], None] = make_user) -> None:
        self._manager = manager
        self._make_user = make_user

    def apply(self, step: Step) -> None:
        """Do one step.

        Raises:
            CkptdError: it could not be done; those before it are.
        """
        match step:
            case WriteFile():
                _write(step)
            case RemoveFile():
                _remove(step)
            case MakeDirectory():
                _make_directory(step)
            case MakeUser(sysusers):
                self._make_user(sysusers)
            case AskManager(ask, unit):
                self._manager.ask(ask, unit)


def _write(step: WriteFile) -> None:
    """Write a file that anybody may read, whatever the umask of who asks."""
    with translated("make a directory", step.path.parent):
        step.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fd = os.open(step.path.parent, _DIRECTORY)
    before = os.umask(0o022)
    try:
        if step.replaces is None:
            write_new(fd, step.path.name, step.text.encode())
        else:
            outcome = exchange_if_same(fd, step.path.name, step.replaces, step.text.encode()).outcome
            if outcome is not Outcome.EXCHANGED:
                raise ServiceError("replace a file", path=step.path, why=outcome.value, cure="look at it, and try again")
    finally:
        os.umask(before)
        os.close(fd)


def _remove(step: RemoveFile) -> None:
    with translated("remove a file", step.path):
        if hashlib.sha256(step.path.read_bytes()).hexdigest() != step.sha256:
            raise ServiceError(
                "remove a file", path=step.path, why="somebody changed it just now", cure="look at it, and try again"
            )
        step.path.unlink()
    if step.path.parent.name.endswith(".service.d"):  # another drop-in, of a person, keeps it
        with contextlib.suppress(OSError):
            step.path.parent.rmdir()


def _make_directory(step: MakeDirectory) -> None:
    with translated("make a directory", step.path):
        step.path.mkdir(parents=True)
        if step.is_shared:
            os.chown(step.path, -1, grp.getgrnam(USER).gr_gid)
            step.path.chmod(_SHARED_MODE)
