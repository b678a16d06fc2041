"""Say whether a user gets to a place, and by what he would be let in."""

from __future__ import annotations

import os
from pathlib import Path

from ckptd.jobs.checks import is_system_user
from ckptd.service.drop_in import HOMES, hidden
from ckptd.storage.access import Account, name_user


def find_closed(path: Path, account: Account) -> Path | None:
    """Give the first directory above a place that a user may not enter; None when he gets there.

    The way into a home is no matter to a service that its unit puts there.
    """
    return None if is_put_into(path, account) else account.find_closed(path)


def is_put_into(path: Path, account: Account) -> bool:
    """Say whether a place lies in a home into which its unit lets the system's service, past the directories above."""
    return is_system_user(account.user) and bool(hidden([path, Path(os.path.realpath(path))], HOMES))


def advise(path: Path, account: Account) -> str:
    """Say how a user is let into a directory that people may share."""
    cure = f"chgrp GROUP {path} && chmod g+rwxs {path}, with a group of those who save there and of {account}"
    return cure + _install(account)


def own(path: Path, account: Account) -> str:
    """Say how a directory becomes a user's own."""
    return f"chown {name_user(account.user)} {path} && chmod u+rwx {path}{_install(account)}"


def _install(account: Account) -> str:
    return ", then `ckptd service install`" if is_system_user(account.user) else ""
