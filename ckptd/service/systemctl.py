"""Ask systemd's programs; their answers are read, never their tables for people."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ckptd.service.faults import ServiceError
from ckptd.service.steps import Ask
from ckptd.text import escape

#: Longer than TimeoutStartSec= of the units: until READY an index may be brought up to date.
_START_SECONDS = 660.0
_ASK_SECONDS = 30.0
_WORDS_LIMIT = 1_000
#: What is to be stopped; a unit that failed may be about to start again.
_STARTED = frozenset({"active", "activating", "reloading", "failed"})


class Systemctl:
    """The service manager of the system, or of whoever runs this.

    Args:
        is_system: which of the two.
    """

    def __init__(self, *, is_system: bool) -> None:
        self._options = ("--no-pager",) if is_system else ("--user", "--no-pager")

    def ask(self, ask: Ask, unit: str = "") -> None:
        """Have something done, and wait until it is.

        Raises:
            ServiceError: it was not done, as when a service does not start.
        """
        now = ("--now",) if ask in (Ask.ENABLE, Ask.DISABLE) else ()
        if ask in (Ask.ENABLE, Ask.RESTART):  # what failed too often before this would not be started
            _run("systemctl", *self._options, "reset-failed", unit, seconds=_ASK_SECONDS)
        done = _run("systemctl", *self._options, ask.value, *now, *([unit] if unit else []), seconds=_START_SECONDS)
        if done.returncode:
            journal = "journalctl -u" if "--user" not in self._options else "journalctl --user -u"
            cure = f'"{journal} {unit}" has its own words' if unit else ""
            raise ServiceError(f"systemctl {ask.value} {unit}".strip(), why=_last_words(done.stderr), cure=cure)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Give properties of a unit; those of one that systemd does not know are as good as empty.

        Raises:
            ServiceError: systemd does not answer.
        """
        done = _run("systemctl", *self._options, "show", f"--property={','.join(names)}", unit, seconds=_ASK_SECONDS)
        if done.returncode:
            raise ServiceError("ask systemd", why=_last_words(done.stderr))
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value for name, _, value in pairs if name in names}

    def is_active(self, unit: str) -> bool:
        """Tell whether a unit runs and is ready."""
        return self.show(unit, "ActiveState").get("ActiveState") == "active"

    def is_enabled(self, unit: str) -> bool:
        """Tell whether a unit is started at boot."""
        return self.show(unit, "UnitFileState").get("UnitFileState") == "enabled"

    def find_pid(self, unit: str) -> int:
        """Give the main process of a unit; 0 for none."""
        pid = self.show(unit, "MainPID").get("MainPID", "")
        return int(pid) if pid.isdigit() else 0

    def is_wanted(self, unit: str) -> bool:
        """Tell whether a unit runs, or is started at boot."""
        shown = self.show(unit, "ActiveState", "UnitFileState")
        return shown.get("ActiveState") in _STARTED or shown.get("UnitFileState") == "enabled"


def make_user(sysusers: Path) -> None:
    """Make the users of a file of sysusers.d(5) that are not there.

    Raises:
        ServiceError: they can't be made.
    """
    done = _run("systemd-sysusers", str(sysusers), seconds=_ASK_SECONDS)
    if done.returncode:
        raise ServiceError("make the user ckptd", why=_last_words(done.stderr))


def _run(program: str, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program)
    if found is None:
        raise ServiceError("ask systemd", path=program, why="there is no such program on the PATH")
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
    try:
        return subprocess.run(  # noqa: S603 — no shell, and no word out of a file
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environ,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError("ask systemd", why=f"{program} gave no answer within {seconds:.0f} s") from error


def _last_words(text: str) -> str:
    return escape(" ".join(text.split()), _WORDS_LIMIT) or "it gave no reason"
