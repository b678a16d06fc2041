"""Look at the settings: every problem, who could write the file or a program in it, and who can read it and its secrets."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.notify.secret import find_fault
from ckptd.settings import Settings
from ckptd.settings.places import default_configs, setting_variables
from ckptd.storage.access import ENTER, READ, Account, find_account, name_group
from ckptd.storage.ways import Writer, find_writers
from ckptd.text import escape

_NAME = "settings"
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
        yield from _check_file(config, has_secrets=False, account=find_account(os.geteuid()))


def check_settings(patient: Patient) -> Iterator[Check]:
    """Say where the settings come from, and whether they and what they name are safe, and of use to the daemon's user."""
    account, values = patient.find_account(), patient.settings.model_dump()
    variables = setting_variables(os.environ)
    source = "the defaults (there is no settings file)" if patient.config is None else escape(str(patient.config), 1_000)
    yield good(_NAME, f"{source}{f', and {len(variables)} variables of the environment' if variables else ''}")
    if patient.config is not None:
        yield from _check_file(patient.config, has_secrets=_has_secrets(values), account=account)
        yield from _check_others(patient.config)
    for key, path in _find_secret_files(values):
        yield from _check_secret_file(key, path, account)
    for key, path in _find_certificates(patient.settings):
        yield from _check_readable(f"{_NAME} {key}", path, account)
    for key, path in _find_programs(patient.settings):
        yield from _check_program(f"{_NAME} {key} {escape(str(path), 1_000)}", path, account)


def _check_file(path: Path, *, has_secrets: bool, account: Account) -> Iterator[Check]:
    try:
        seen = path.stat()
    except OSError as error:
        yield bad(_NAME, f"{escape(str(path), 1_000)}: {os.strerror(error.errno or 0)}", "give the path of a settings file")
        return
    name = f"{_NAME} {escape(str(path), 1_000)}"
    for writer in _find_writers(path, account):
        why = f"{_say_writer(writer, path)}, and so say what ckptd removes and whose code it runs"
        cure = f"{writer.cure}, unless that is meant to be so" if writer.is_group else writer.cure
        yield bad(name, why, cure, Severity.WARNING if writer.is_group else Severity.ERROR)
    if has_secrets and seen.st_mode & _OTHERS_READ:
        cure = "chmod 640 and give it the group of the daemon's user, or put the secret into a file of its own"
        yield bad(name, "a secret stands in it, and everybody can read it", cure)
    yield from _check_readable(name, path, account)


def _check_readable(name: str, path: Path, account: Account) -> Iterator[Check]:
    """Say whether the daemon's user can read a file; root, who asks, reads everything."""
    shown = escape(str(path), 1_000)
    try:
        seen = path.stat()
    except OSError as error:
        if isinstance(error, PermissionError) and account.user != os.geteuid():
            return
        yield bad(name, f"{shown}: {os.strerror(error.errno or 0)}", "make it, or correct the setting")
        return
    closed = account.find_closed(path)
    if closed is not None:
        why = f"{account} can't read it: {closed}, above it, is closed to that user"
        yield bad(name, why, f"chmod o+x {closed}, or move it elsewhere")
    elif not account.may(path, READ):
        cure = f"chgrp {_name_own_group(account)} {path} && chmod {0o640 | stat.S_IMODE(seen.st_mode) & 0o777:o} {path}"
        yield bad(name, f"{account} can't read it", cure)


def _find_writers(path: Path, account: Account) -> Iterable[Writer]:
    """Give each who can change a file once, with the place that is nearest to it."""
    found: dict[str, Writer] = {}
    for writer in find_writers(path, [account.user]):
        found.setdefault(writer.who, writer)
    return found.values()


def _say_writer(writer: Writer, path: Path) -> str:
    if writer.place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        return f"{writer.who} can write it"
    return f"{writer.who} can write in {escape(str(writer.place), 1_000)}, put another in its place"


def _check_program(name: str, path: Path, account: Account) -> Iterator[Check]:
    """Look at a program that is run as the daemon's user: whoever can write it does what that user may."""
    for writer in _find_writers(path, account):
        why = f"{_say_writer(writer, path)}, and so do whatever {account} may"
        yield bad(name, why, writer.cure, Severity.WARNING if writer.is_group else Severity.ERROR)
    try:
        is_file = path.is_file()
    except OSError:
        return  # who asks may not look: to the service it may lie open
    if not is_file:
        yield bad(name, "there is no such program", "correct the setting, or install it")
    elif account.find_closed(path) is not None or not account.may(path, ENTER):
        yield bad(name, f"{account} can't run it", f"chmod a+rx {path}, and o+x what lies above it")


def _check_others(read: Path) -> Iterator[Check]:
    """Name settings files that somebody may take for the one that is read."""
    for other in default_configs(os.environ):
        if os.path.isfile(other) and not _is_same(other, read):
            why = f"{escape(str(other), 1_000)} is there as well, and is not read"
            yield bad(_NAME, why, "remove one of the two, or name the other with --config", Severity.INFO)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _check_secret_file(key: str, path: Path, account: Account) -> Iterator[Check]:
    """Say of a secret what the daemon would say, and whether it can read it at all."""
    name, shown = f"{_NAME} {key}", escape(str(path), 1_000)
    fault, is_closed = None, account.find_closed(path) is not None
    try:
        fault = find_fault(str(path), path.stat(), account.user)
    except PermissionError:
        if not is_closed:
            return  # who asks may not look, and is not who has to
    except OSError as error:
        yield bad(name, f"{shown}: {os.strerror(error.errno or 0)}", "make it, or correct the setting")
        return
    if fault is not None:
        yield bad(name, f"{shown} is refused: {fault.why}", fault.cure)
    elif is_closed or not account.may(path, READ):
        credential = f"LoadCredential={path.name}:{path} in the unit, and name {path.name} in the settings"
        cure = f"chgrp {_name_own_group(account)} {path} && chmod 640 {path}; or {credential}: docs/ops/install.md"
        yield bad(name, f"{shown} can't be read by {account}", cure)


def _name_own_group(account: Account) -> str:
    with suppress(KeyError):
        return name_group(pwd.getpwuid(account.user).pw_gid)
    return "GROUP"


def _find_certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    for key in ("webhook", "email"):
        channel = settings.notify.channels.get(key)
        file = getattr(channel, "ca_file", "")
        if file:
            yield f"notify.{key}.ca_file", Path(file)


def _find_programs(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Give the settings that name a program which is run as the daemon's user."""
    commands = {f"hook.{number}": hook.command for number, hook in enumerate(settings.hook)}
    for key, command in {"notify command": settings.notify.command.command, **commands}.items():
        if command:
            yield key, Path(command[0])


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
