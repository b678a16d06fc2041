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
        """Do one step; what is made can be read by anybody, whatever the umask of who asks.

        Raises:
            CkptdError: it could not be done; those before it are.
        """
        before = os.umask(0o022)
        try:
            self._apply(step)
        finally:
            os.umask(before)

    def _apply(self, step: Step) -> None:
        match step:
            case WriteFile():
                _write(step)
            case RemoveFile():
                _remove(step)
            case MakeDirectory():
                _make_directory(step)
            case MakeUser(sysusers, _):
                self._make_user(sysusers)
            case AskManager(ask, unit):
                self._manager.ask(ask, unit)


def _write(step: WriteFile) -> None:
    with translated("make a directory", step.path.parent):
        step.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fd = os.open(step.path.parent, _DIRECTORY)
    try:
        if step.replaces is None:
            write_new(fd, step.path.name, step.text.encode())
        else:
            outcome = exchange_if_same(fd, step.path.name, step.replaces, step.text.encode()).outcome
            if outcome is not Outcome.EXCHANGED:
                raise ServiceError("replace a file", path=step.path, why=outcome.value, cure="look at it, and try again")
    finally:
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
    """Make a directory, and what is missing of the way to it; its links are resolved, and one made since is not followed."""
    with translated("make a directory", step.path):
        parent = _open_way(step.path.parent)
        try:
            os.mkdir(step.path.name, dir_fd=parent)
            fd = os.open(step.path.name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
        try:
            if step.is_shared:
                _share(fd, step.path)
        finally:
            os.close(fd)


def _open_way(path: Path) -> int:
    fd = os.open("/", _DIRECTORY)
    for name in path.parts[1:]:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=fd)
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _share(fd: int, path: Path) -> None:
    """Let the group of the service into a directory that was made just now."""
    if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
        why = "somebody put another in its place just now"
        raise ServiceError("make a directory", path=path, why=why, cure="make it where nobody else can write")
    os.fchown(fd, -1, grp.getgrnam(USER).gr_gid)
    os.fchmod(fd, _SHARED_MODE)
