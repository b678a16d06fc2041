"""Look at everything that could be wrong, and name the cure of what is."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.index.store import Store
from ckptd.jobs.checks import Check, bad, good
from ckptd.jobs.doctoring_exports import check_exports
from ckptd.jobs.doctoring_jobs import check_jobs
from ckptd.jobs.doctoring_retention import check_retention
from ckptd.jobs.doctoring_scrub import check_scrub
from ckptd.model import Json, Severity
from ckptd.policy.brakes import find_freezes
from ckptd.policy.reconcile import reconcile
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined
from ckptd.settings import Settings
from ckptd.storage.beneath import RootHandle
from ckptd.storage.lock import is_held, read_holder
from ckptd.text import escape
from ckptd.watch.filesystems import find_filesystem
from ckptd.watch.guard import KnownRoot, is_incident, judge, look
from ckptd.watch.scanner import scan
from ckptd.watch.wanted import compile_wanted

#: Less free space than this under the state directory and the index will soon not be written.
_LEAST_FREE_BYTES = 256 << 20
_PACKAGES = ("ckptd", "torch", "watchdog", "apscheduler", "pydantic-settings", "structlog", "sqlalchemy")


def check_all(settings: Settings, state_dir: Path, index: str) -> list[Check]:
    """Run every check; each that fails says so and hinders none of the others."""
    checks = [good("versions", ", ".join(_find_versions()))]
    for path in settings.roots:
        checks += _check_root(path)
    checks += _check_state(state_dir)
    checks += _check_index(settings, state_dir / index)
    checks += _check_watches(settings)
    checks += _check_sandbox()
    checks += check_exports(settings)
    checks += check_jobs(settings, state_dir, index)
    checks += check_retention(settings, state_dir / index)
    return checks


def _find_versions() -> Iterator[str]:
    yield f"Python {sys.version.split()[0]}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} missing"


def _check_root(path: Path) -> list[Check]:
    name = f"root {path}"
    if not path.is_dir():
        return [bad(name, "there is no such directory", "make it, or correct `roots` in the settings")]
    checks = []
    if not os.access(path, os.R_OK | os.X_OK):
        checks.append(bad(name, "it cannot be listed", "give the daemon's user the right to read it"))
    elif not os.access(path, os.W_OK):
        cure = "let the daemon's user write there, or set sidecar.enabled = false"
        checks.append(bad(name, "no metadata can be written there", cure, Severity.WARNING))
    else:
        checks.append(good(name, f"readable and writable, {find_filesystem(path).name}"))
    mode = path.stat().st_mode
    if mode & stat.S_ISVTX:
        cure = "remove the sticky bit if a group is to edit the metadata"
        checks.append(bad(name, "it is sticky: only the owner of a metadata file can replace it", cure, Severity.INFO))
    return checks


def _check_state(state_dir: Path) -> list[Check]:
    name = f"state directory {state_dir}"
    if not state_dir.is_dir():
        return [bad(name, "it is not there yet", "it is made by the first `ckptd run` or `ckptd scan`", Severity.INFO)]
    checks = []
    seen = state_dir.stat()
    if seen.st_mode & 0o077 or seen.st_uid != os.geteuid():
        cure = f"chown it to uid {os.geteuid()} and chmod 700"
        checks.append(bad(name, "others could write to it and steer what ckptd does", cure))
    kind = find_filesystem(state_dir)
    if kind.is_network:
        cure = "set state_dir to a local disk: SQLite's locks are not kept by network file systems"
        checks.append(bad(name, f"it lies on {kind.name}", cure))
    free = shutil.disk_usage(state_dir).free
    if free < _LEAST_FREE_BYTES:
        checks.append(bad(name, f"{free >> 20} MiB are free", "make room", Severity.WARNING))
    checks.append(good(name, f"{kind.name}, {free >> 30} GiB free; {_find_holder(state_dir)}"))
    return checks


def _find_holder(state_dir: Path) -> str:
    if not is_held(state_dir):
        return "no daemon runs"
    holder = read_holder(state_dir) or {}
    return f"process {holder.get('pid', '?')} runs since {escape(str(holder.get('started_at', '?')))}"


def _check_index(settings: Settings, path: Path) -> list[Check]:
    name = f"index {path.name}"
    if not path.exists():
        return [bad(name, "there is none yet", "`ckptd run` or `ckptd scan` makes it", Severity.INFO)]
    try:
        store = Store.open(path)
    except CkptdError as error:
        return [bad(name, str(error), error.cure or "`ckptd reindex` builds it anew")]
    try:
        problem = store.check_integrity()
        if problem is not None:
            return [bad(name, problem, "`ckptd reindex` builds it anew from the files and the journal")]
        known = [check for root in settings.roots for check in _check_known(settings, store, root)]
        return [good(name, "whole"), *known, *check_scrub(settings, store)]
    finally:
        store.close()


def _check_known(settings: Settings, store: Store, path: Path) -> Iterator[Check]:
    """Hold what is known of a root against what is there."""
    real = os.path.realpath(path)
    name = f"files of {path}"
    places = store.load_places(real)
    root_id, files = store.load_root(real)
    verdict = judge(KnownRoot(*_stat_of(real), root_id, files), look(real))
    if is_incident(verdict):
        why = getattr(verdict, "why", "")
        yield bad(name, f"frozen: {why}", "mount it; if it is meant to be so: `ckptd scan --believe-losses`")
        return
    with RootHandle(real) as handle:
        found = scan(handle.fd, compile_wanted(settings.suffixes, settings.ignore))
    known = {relative: place.identity for relative, place in places.items()}
    missing = {relative for relative, place in places.items() if place.is_missing}
    changes = reconcile(known, found.files, missing=missing, unread=found.unread)
    for freeze in find_freezes(changes, known, found.devices):
        cure = "bring them back; if they are meant to be gone: `ckptd scan --believe-losses`"
        yield bad(name, f"frozen: {freeze.why}", cure)
    waiting = len(changes.new) + len(changes.changed)
    yield good(name, f"{len(found.files)} there, {len(places)} known, {waiting} not indexed yet, {len(missing)} missing")
    for problem in found.problems[:20]:
        yield bad(name, f"{problem.path}: {problem.finding.message}", "rename it or give it another ending", Severity.INFO)


def _stat_of(path: str) -> tuple[int, int]:
    try:
        seen = os.stat(path)
    except OSError:
        return 0, 0
    return seen.st_dev, seen.st_ino


def _check_watches(settings: Settings) -> list[Check]:
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
    directories = sum(sum(1 for _ in os.walk(root)) for root in settings.roots)
    name = "inotify watches"
    if directories > limit * 0.8:
        cure = f"sysctl fs.inotify.max_user_watches={max(2 * directories, 65536)}"
        return [bad(name, f"{directories} directories, and the limit of this user is {limit}", cure, Severity.WARNING)]
    return [good(name, f"{directories} directories, limit {limit}")]


def _check_sandbox() -> list[Check]:
    try:
        _, layers = run_confined(_answer_nothing, limits=Limits(), keep_fds=())
    except CkptdError as error:
        return [bad("sandbox", str(error), "see the log of the daemon")]
    if layers.degraded:
        cure = "a newer kernel, or fewer restrictions around the daemon"
        return [bad("sandbox", f"workers are less confined: {layers.describe_missing()}", cure, Severity.WARNING)]
    return [good("sandbox", "workers are confined by " + ", ".join(layers.applied))]


def _answer_nothing(progress: object) -> dict[str, Json]:
    del progress
    return {}
