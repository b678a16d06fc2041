"""Look at the other directories that the settings name to be written to: archives, reports, metrics, sockets, and the state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good, is_system_user
from ckptd.jobs.reaching import advise, find_closed, own
from ckptd.model import Severity
from ckptd.service.drop_in import find_writable, is_runtime
from ckptd.settings import Settings
from ckptd.settings.health import SocketAddress
from ckptd.storage.access import ENTER, READ, WRITE, Account

_ALL = READ | WRITE | ENTER
#: Where StateDirectory= lies.  Source: systemd.exec(5).
_STATES = Path("/var/lib")


def check_places(patient: Patient) -> Iterator[Check]:
    """Say which of them the daemon's user can't use; roots have a look of their own, and so has what the state is."""
    account, settings = patient.find_account(), patient.settings
    if settings.state_dir is not None:
        yield from _check_state(settings, patient.state_dir, account)
    for key, path, is_made in _find_places(settings):
        yield from _check_place(settings, key, Path(os.path.abspath(path)), account, is_made=is_made)


def _find_places(settings: Settings) -> Iterator[tuple[str, Path, bool]]:
    """Give the setting, the directory, and whether ckptd makes it where only itself is missing."""
    for table in ("archive", "report"):
        directory = getattr(settings, table).directory
        if directory is not None:
            yield f"{table}.directory", directory, True
    address = settings.health.address
    files = {
        ("health", "textfile"): settings.health.textfile,
        ("health", "listen"): Path(address.path) if isinstance(address, SocketAddress) else None,
        ("control", "socket"): settings.control.socket if settings.control.enabled else None,
    }
    for (table, key), file in files.items():
        if file is not None and not is_runtime(file):
            yield f"{table}.{key}", file.parent, False


def _check_place(settings: Settings, key: str, path: Path, account: Account, *, is_made: bool) -> Iterator[Check]:
    name = f"{key} {path}"
    closed = list(_check_way(name, path, account))
    if closed:
        yield from closed
        return
    try:
        path.stat()
    except PermissionError:
        return  # who asks may not look, and is not who has to
    except OSError as error:
        if not is_made or not path.parent.is_dir():
            yield bad(name, os.strerror(error.errno or 0), f"make it, or mount its disk; else correct {key} in the settings")
        elif _can_make(settings, path, account):
            yield bad(name, "it is not there yet", "nothing has to be done: it is made when it is first needed", Severity.INFO)
        else:
            yield bad(name, f"it is not there, and {account} can't make it", f"mkdir {path} && {own(path, account)}")
        return
    if not path.is_dir():
        yield bad(name, "it is no directory", f"correct {key} in the settings")
    elif not account.may(path, _ALL):
        yield bad(name, f"{account} can't write there", f"{own(path, account)}; or {advise(path, account)}")
    else:
        yield good(name, f"writable for {account}")


def _check_way(name: str, path: Path, account: Account) -> Iterator[Check]:
    closed = find_closed(path, account)
    if closed is not None:
        cure = f"chmod o+x {closed}, or let a group in that it is in"
        yield bad(name, f"{account} may not enter {closed}, above it", cure)


def _check_state(settings: Settings, path: Path, account: Account) -> Iterator[Check]:
    name = f"state_dir {path}"
    closed = list(_check_way(name, path, account))
    yield from closed
    if closed or os.path.lexists(path):
        return
    if path.parent == _STATES and is_system_user(account.user):
        return  # systemd makes it
    elif not os.path.isdir(path.parent) or not _can_make(settings, path, account):
        yield bad(name, f"it is not there, and {account} can't make it", f"mkdir -p {path} && {own(path, account)}")


def _can_make(settings: Settings, path: Path, account: Account) -> bool:
    """Say whether a user can make a directory; to a confined service everything is read-only but what its settings name."""
    above = Path(os.path.realpath(path.parent))
    if is_system_user(account.user) and not any(above.is_relative_to(os.path.realpath(one)) for one in find_writable(settings)):
        return False
    return find_closed(above, account) is None and account.may(above, WRITE | ENTER)
