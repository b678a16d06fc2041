"""Look at the settings: every problem, who could write the file, and who could read the secrets in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.settings.places import default_configs, setting_variables
from ckptd.text import escape

_NAME = "settings"
_OTHERS_WRITE = stat.S_IWOTH
_OTHERS_READ = stat.S_IROTH
#: Of a key whose value names a file with a secret in it.
_SECRET_FILE = re.compile(r"(?:secret|password|token|key|url)_?file")
#: A password in a URL: "postgresql://user:password@host".
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)


def check_problems(config: Path | None, problems: Iterable[str]) -> Iterator[Check]:
    """Say every problem of settings that can't be used."""
    for problem in problems:
        yield bad(
            _NAME, escape(problem, 1_000), "correct it; `ckptd config check` reads them again, docs/settings.md has every key"
        )
    if config is not None:
        yield from _check_file(config, has_secrets=False, user=os.geteuid())


def check_settings(patient: Patient) -> Iterator[Check]:
    """Say where the settings come from, and whether they are safe there."""
    user, values = patient.find_user(), patient.settings.model_dump()
    variables = setting_variables(os.environ)
    source = "the defaults (there is no settings file)" if patient.config is None else escape(str(patient.config), 1_000)
    yield good(_NAME, f"{source}{f', and {len(variables)} variables of the environment' if variables else ''}")
    if patient.config is not None:
        yield from _check_file(patient.config, has_secrets=_has_secrets(values), user=user)
        yield from _check_others(patient.config)
    for key, path in _find_secret_files(values):
        yield from _check_secret_file(key, path)


def _check_file(path: Path, *, has_secrets: bool, user: int) -> Iterator[Check]:
    try:
        seen, above = path.stat(), path.resolve().parent.stat()
    except OSError as error:
        yield bad(_NAME, f"{escape(str(path), 1_000)}: {os.strerror(error.errno or 0)}", "give the path of a settings file")
        return
    name = f"{_NAME} {escape(str(path), 1_000)}"
    if seen.st_mode & _OTHERS_WRITE or (above.st_mode & _OTHERS_WRITE and not above.st_mode & stat.S_ISVTX):
        yield bad(name, "everybody can write it, and so say what ckptd removes and whose code it runs", f"chmod o-w {path}")
    elif seen.st_mode & stat.S_IWGRP and seen.st_gid != 0:
        why = f"group {seen.st_gid} can write it, and so say what ckptd removes and whose code it runs"
        yield bad(name, why, "chmod g-w, unless that is meant to be so", Severity.WARNING)
    if seen.st_uid not in (0, user):
        why = f"it belongs to user {seen.st_uid}, who can say what ckptd removes and whose code it runs"
        yield bad(name, why, "chown it to root", Severity.WARNING)
    if has_secrets and seen.st_mode & _OTHERS_READ:
        cure = "chmod 640 and give it the group of the daemon's user, or put the secret into a file of its own"
        yield bad(name, "a secret stands in it, and everybody can read it", cure)


def _check_others(read: Path) -> Iterator[Check]:
    """Name settings files that somebody may take for the one that is read."""
    for other in default_configs(os.environ):
        if other.is_file() and not _is_same(other, read):
            why = f"{escape(str(other), 1_000)} is there as well, and is not read"
            yield bad(_NAME, why, "remove one of the two, or name the other with --config", Severity.INFO)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _check_secret_file(key: str, path: Path) -> Iterator[Check]:
    try:
        seen = path.stat()
    except OSError as error:
        yield bad(
            f"{_NAME} {key}", f"{escape(str(path), 1_000)}: {os.strerror(error.errno or 0)}", "make it, or correct the setting"
        )
        return
    if seen.st_mode & 0o077:
        yield bad(f"{_NAME} {key}", f"{escape(str(path), 1_000)} can be read by others", f"chmod 600 {path}")


def _has_secrets(value: Any) -> bool:
    match value:
        case SecretStr():
            return bool(value.get_secret_value())
        case str():
            return _URL_PASSWORD.search(value) is not None
        case dict():
            return any(_has_secrets(item) for item in value.values())
        case list() | tuple():
            return any(_has_secrets(item) for item in value)
        case _:
            return False


def _find_secret_files(value: Any, key: str = "") -> Iterator[tuple[str, Path]]:
    """Give the settings that name a file with a secret: key and path; one that systemd hands over is no path."""
    match value:
        case dict():
            for name, item in value.items():
                yield from _find_secret_files(item, f"{key}.{name}" if key else str(name))
        case list() | tuple():
            for number, item in enumerate(value):
                yield from _find_secret_files(item, f"{key}.{number}")
        case str() | Path() if _SECRET_FILE.search(key.rpartition(".")[2]) and str(value).startswith("/"):
            yield key, Path(value)
        case _:
            return
