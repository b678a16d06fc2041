"""Secrets: read when they are needed, from a credential of the unit or a file that others can't read; never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from ckptd.errors import SettingsError
from ckptd.text import escape

#: systemd puts the credentials of LoadCredential= there.  Source: systemd.exec(5).
CREDENTIALS = "CREDENTIALS_DIRECTORY"
#: How the keys of signatures begin that are base64.  Source: Standard Webhooks, "Signature scheme".
KEY_PREFIX = "whsec_"
_MOST_BYTES = 64 << 10


class Secret:
    """A text that shows itself to nobody who does not ask by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret('…')"

    def reveal(self) -> str:
        """Give the text."""
        return self._text


class Fault(NamedTuple):
    """Why a file is not believed, and what to do about it."""

    why: str
    cure: str


def read_secret(name: str, environ: Mapping[str, str]) -> Secret:
    """Read a secret.

    Args:
        name: of a credential of the unit, or an absolute path.
        environ: says where the credentials are.

    Raises:
        SettingsError: it is not there, empty, or others can read or change it.
    """
    path = _find(name, environ)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise _refuse(name, os.strerror(error.errno or 0)) from error
    with os.fdopen(fd, "rb") as file:
        fault = find_fault(name, os.fstat(fd), os.geteuid())
        if fault is not None:
            raise _refuse(name, f"{fault.why} ({fault.cure})")
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise _refuse(name, "it is no secret: it is too long")
    try:
        text = data.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise _refuse(name, "it is no text in UTF-8") from error
    if not text:
        raise _refuse(name, "it is empty")
    return Secret(text)


def _find(name: str, environ: Mapping[str, str]) -> str:
    if name.startswith("/"):
        return name
    directory = environ.get(CREDENTIALS, "")
    if not directory.startswith("/"):
        why = "no credentials were given to this process (LoadCredential= in the unit does; or write an absolute path)"
        raise _refuse(name, why)
    return f"{directory}/{name}"


def find_fault(name: str, status: os.stat_result, user: int) -> Fault | None:
    """Say why a file is not believed by a user who keeps a secret in it; None when it is.

    Whether he can read it himself, opening it tells.

    Args:
        name: of the file, for the cure.
        status: of the file.
        user: who is to read it.
    """
    shown = escape(name, 500)
    if not stat.S_ISREG(status.st_mode):
        return Fault("it is no regular file", "name a file in the settings")
    if status.st_mode & 0o007:
        return Fault("others can read or change it", f"chmod o= {shown}")
    if status.st_mode & 0o020:
        return Fault("its group can change it", f"chmod g-w {shown}")
    if status.st_uid not in (0, user):
        return Fault("it belongs to another user, who could change it", f"chown root {shown}")
    return None


def _refuse(name: str, why: str) -> SettingsError:
    shown = f"{KEY_PREFIX}…" if name.startswith(KEY_PREFIX) else escape(name, 500)  # the key itself, in the place of its file
    return SettingsError((f"secret {shown}: {why}",))
