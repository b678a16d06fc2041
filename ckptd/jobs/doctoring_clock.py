"""Look at the clock: ages decide what is removed, so a clock that is wrong is trouble."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.index.census import find_newest_entry
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.model import Severity
from ckptd.storage.journal import NAME as JOURNAL
from ckptd.storage.tail import read_tail

_NAME = "clock"
#: What clocks differ by that are set by different means.
_TOLERATED_SECONDS = 120.0
#: Of the end of the journal; its last line is what is wanted.
_TAIL_BYTES = 64 << 10
#: What adjtimex answers for a clock that nothing disciplines.  Source: adjtimex(2).
_TIME_ERROR = 5
_ROOM_BYTES = 512  # for struct timex: 208 on 64-bit machines


def check_clock(patient: Patient) -> Iterator[Check]:
    """Say whether the clock was set back, and whether anything keeps it right."""
    newest = max((at for at in (_newest_row(patient), _newest_line(patient)) if at is not None), default=None)
    if newest is not None and newest - patient.now > _TOLERATED_SECONDS:
        why = f"it is {_describe(newest - patient.now)} earlier than what ckptd wrote down last: ages are wrong, and jobs wait"
        yield bad(_NAME, why, "set it: timedatectl set-ntp true; what was removed meanwhile lies in the trash")
        return
    if not is_disciplined():
        cure = "run a time service: systemd-timesyncd or chrony; nothing has to be done where the host of this machine does"
        yield bad(_NAME, "nothing is known to keep it right", cure, Severity.INFO)
    yield good(_NAME, f"later than all that was written down; cron lines are in {patient.settings.schedule.time_zone}")


def _newest_row(patient: Patient) -> float | None:
    with opened_index(patient) as store:
        return None if store is None else store.ask(find_newest_entry)


def _newest_line(patient: Patient) -> float | None:
    return newest_line(patient.state_dir) if patient.may_look else None


def newest_line(state_dir: Path) -> float | None:
    """Give the time of the last line of a journal, seconds since the epoch; None where there is none that says one."""
    try:
        lines = read_tail(state_dir, JOURNAL, _TAIL_BYTES)
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict) and isinstance(value.get("at"), int | float):
                return float(value["at"])
    return None


def is_disciplined() -> bool:
    """Ask the kernel whether a time service keeps its clock; True where it does not say."""
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_ROOM_BYTES))  # zeros only ask
    except (OSError, AttributeError):
        return True
    return int(answer) != _TIME_ERROR


def _describe(seconds: float) -> str:
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} seconds"
