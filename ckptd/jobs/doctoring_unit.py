"""Look at the systemd units of ckptd, where there are any."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from ckptd.jobs.checks import Check, bad, good
from ckptd.model import Severity
from ckptd.text import escape

_NAME = "systemd unit"
_UNITS = ("ckptd.service", "ckptd@*.service")
PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "ExecMainStatus",
    "NRestarts",
    "MainPID",
    "ActiveEnterTimestamp",
    "WatchdogUSec",
    "NeedDaemonReload",
    "FragmentPath",
)
#: A manager that hangs must not hang the doctor.
_SECONDS = 5.0
_MOST_BYTES = 64 << 10


def check_unit() -> Iterator[Check]:
    """Say how the units stand; that there is none is no trouble."""
    try:
        units = read_units()
    except OSError as error:
        yield good(_NAME, f"systemd can't be asked: {error}")
        return
    there = [unit for unit in units if unit.get("LoadState") not in ("not-found", None)]
    if not there:
        yield good(_NAME, "there is none; docs/ops/install.md says how to have ckptd started by systemd")
    for unit in there:
        yield from _check_one(unit)


def read_units() -> list[dict[str, str]]:
    """Ask systemd for the units: property → value, for each.

    Raises:
        OSError: there is no systemd, or it does not answer.
    """
    manager = () if os.geteuid() == 0 else ("--user",)
    try:
        command = ["systemctl", *manager, "show", "--no-pager", f"--property={','.join(PROPERTIES)}", *_UNITS]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise OSError("there is no systemctl here") from error
    if done.returncode != 0 or len(done.stdout) > _MOST_BYTES:
        lines = done.stderr.decode("utf-8", "replace").strip().split("\n")
        raise OSError(escape(lines[0], 200) or f"systemctl ended with status {done.returncode}")
    return _parse(done.stdout.decode("utf-8", "replace"))


def _parse(text: str) -> list[dict[str, str]]:
    """Read what `systemctl show` prints: lines of KEY=VALUE, a blank line between two units."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition("=")[::2] for line in block.split("\n") if "=" in line) for block in blocks]


def _check_one(unit: dict[str, str]) -> Iterator[Check]:
    id_ = escape(unit.get("Id", "ckptd.service"), 100)
    name, state, result = f"{_NAME} {id_}", unit.get("ActiveState", "?"), unit.get("Result", "?")
    log = f"its log says why: journalctl -u {id_} -b"
    if state == "failed":
        why = f"it failed ({escape(result, 40)}, exit status {escape(unit.get('ExecMainStatus', '?'), 10)})"
        yield bad(name, why, f"{log}; then systemctl restart {id_}")
    elif state == "active":
        yield good(
            name,
            f"active since {escape(unit.get('ActiveEnterTimestamp', '?'), 60)}, process {escape(unit.get('MainPID', '?'), 12)}",
        )
    else:
        cure = f"systemctl enable --now {id_}"
        yield bad(name, f"it is {escape(state, 40)} ({escape(unit.get('UnitFileState', '?'), 40)})", cure, Severity.WARNING)
    if unit.get("NRestarts", "0") not in ("0", ""):
        yield bad(name, f"systemd had to restart it {escape(unit['NRestarts'], 12)} times", log, Severity.WARNING)
    if unit.get("NeedDaemonReload") == "yes":
        yield bad(name, "its file was changed since systemd read it", "systemctl daemon-reload", Severity.INFO)
