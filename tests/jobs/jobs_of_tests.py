"""Jobs that do what a test wants; found by the name of this module, as real jobs are by theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ckptd.errors import StorageError
from ckptd.jobs.registry import JobContext, JobEntry, JobOutcome

#: What the next runs do, in order; with none left, all is well.
planned: list[Callable[[JobContext], JobOutcome]] = []
#: What was called: (name, context).
called: list[tuple[str, Any]] = []
recovering: list[Callable[[JobContext], None]] = []


def run(context: JobContext) -> JobOutcome:
    """Do what is planned."""
    called.append(("run", context))
    return planned.pop(0)(context) if planned else JobOutcome("ok", {"files": 3})


def recover(context: JobContext) -> None:
    """Note that it was called."""
    called.append(("recover", context))
    if recovering:
        recovering.pop(0)(context)


def fail(_context: JobContext) -> JobOutcome:
    """Fail as a disk makes a job fail."""
    raise StorageError("archive", path="/srv/a.pth", why="no room", cure="make room")


def break_down(_context: JobContext) -> JobOutcome:
    """Fail as a fault of ours does."""
    raise LookupError("\x1b[2J")


JOBS = tuple(JobEntry(name, f"do the {name}", f"{__name__}:run") for name in ("scrub", "retention", "report"))
