"""Look at the state directory: whose it is, where it lies, and who works with it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.storage.lock import is_held, read_holder
from ckptd.text import escape
from ckptd.watch.filesystems import find_filesystem


def check_state(patient: Patient) -> Iterator[Check]:
    """Say what is wrong with the place of index, journal and lock."""
    state_dir = patient.state_dir
    name = f"state directory {state_dir}"
    try:
        seen = state_dir.lstat()
    except FileNotFoundError:
        yield bad(name, "it is not there yet", "it is made by the first `ckptd run` or `ckptd scan`", Severity.INFO)
        return
    if not stat.S_ISDIR(seen.st_mode):
        yield bad(name, "it is a link or a file, and is not used", "look at what it is, and move it away")
        return
    if not patient.may_look:
        cure = f"ask as that user: sudo -u '#{seen.st_uid}' ckptd doctor"
        yield bad(
            name, "it is another user's: what needs the index, the journal or the trash is left out", cure, Severity.WARNING
        )
        return
    user = patient.find_user()
    if seen.st_mode & 0o077 or seen.st_uid != user:
        why = f"others could write to it and steer what ckptd does (user {seen.st_uid}, mode {stat.S_IMODE(seen.st_mode):04o})"
        yield bad(name, why, f"look at what lies there; then chown it to user {user} and chmod 700")
    kind = find_filesystem(state_dir)
    if kind.is_network:
        cure = "set state_dir to a local disk: SQLite's locks are not kept by network file systems"
        yield bad(name, f"it lies on {kind.name}", cure)
    yield from _check_holder(patient)
    yield good(name, f"{kind.name}; {_describe_holder(patient)}")


def _check_holder(patient: Patient) -> Iterator[Check]:
    if is_held(patient.state_dir) and patient.find_daemon() is None:
        why = "a process holds the lock that is not the one that took it: something that the daemon started outlived it"
        cure = f"find it with: fuser -v {patient.state_dir / 'lock'}"
        yield bad("daemon", why, cure)


def _describe_holder(patient: Patient) -> str:
    if not is_held(patient.state_dir):
        return "no daemon runs"
    holder = read_holder(patient.state_dir) or {}
    return f"process {holder.get('pid', '?')} runs since {escape(str(holder.get('started_at', '?')))}"
