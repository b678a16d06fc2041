"""Look at what is installed, and whether the daemon that runs is of that version."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from ckptd import __version__
from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.storage.lock import read_holder
from ckptd.text import escape

#: ckptd and all that it requires; a test compares.
PACKAGES = (
    "ckptd",
    "torch",
    "numpy",
    "watchdog",
    "apscheduler",
    "pydantic",
    "pydantic-settings",
    "structlog",
    "sqlalchemy",
    "alembic",
    "click",
    "safetensors",
    "isal",
    "prometheus-client",
    "rich",
    "waitress",
)


def check_versions() -> Iterator[Check]:
    """Say what is installed; a package that is missing is an error."""
    found = find_versions()
    missing = [name for name, installed in found.items() if installed is None]
    if missing:
        yield bad("versions", f"not installed: {', '.join(missing)}", "install ckptd anew: pip install --force-reinstall ckptd")
    yield good("versions", ", ".join(f"{name} {installed}" for name, installed in found.items() if installed is not None))


def find_versions() -> dict[str, str | None]:
    """Give what is installed: name → version, None for what is missing."""
    found: dict[str, str | None] = {"Linux": os.uname().release, "Python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def check_running_version(patient: Patient) -> Iterator[Check]:
    """Compare the daemon that runs with what is installed: it goes on with the code that it was started with."""
    if patient.find_daemon() is None:
        return
    running = (read_holder(patient.state_dir) or {}).get("version")
    if running == __version__:
        yield good("daemon", f"it is of version {running}, as what is installed")
        return
    said = escape(running, 40) if isinstance(running, str) else "an older version"
    cure = "start it again: systemctl restart ckptd"
    yield bad("daemon", f"it is of {said}, and {__version__} is installed", cure, Severity.WARNING)
