"""Which jobs there are, what each is given, and what it gives back.  A further job is one line in `JOBS`.

A job is a function `run(context) -> JobOutcome` that looks at the world anew each time: it may be killed at any moment, and
its next run goes on from what it finds.  A module may have `recover(context) -> None` beside it; that is called, under the job
lock, when a run of the job was broken off, before anything else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ckptd.errors import UsageError
from ckptd.index.store import Store
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json
from ckptd.settings import Settings
from ckptd.storage.journal import Journal


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job works with.

    Attributes:
        store: the index, open; its `run` is that of this run.
        roots: open, and looked at just now; one with an `incident` is not to be believed.
        now: seconds since the epoch; the one clock of a job.
        run_id: what the audit and job_runs call this run.
        stop: True once somebody asked this process to end.  A job looks between two files; then it raises a CkptdError, or
            gives the outcome "interrupted", and is run again later.
        log: takes events as structlog does.
        only_of: user id whose files alone may be brought back; None for everybody's.
    """

    settings: Settings
    store: Store
    journal: Journal
    roots: list[WatchedRoot]
    state_dir: Path
    now: Callable[[], float]
    run_id: str
    stop: Callable[[], bool]
    log: Any
    only_of: int | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a run ended.

    Attributes:
        outcome: "held" waits for a person, "interrupted" is repeated; "failed" is an alert, and the next time is its next try.
        summary: figures for programs; keys are stable.
        reason: one sentence; what to do about it is in it.  Empty when all is well.
    """

    outcome: Literal["ok", "held", "failed", "interrupted"]
    summary: Mapping[str, Json] = field(default_factory=dict)
    reason: str = ""


JobFunction = Callable[[JobContext], JobOutcome]


@dataclass(frozen=True, slots=True)
class JobEntry:
    """One job.

    Attributes:
        name: as in the settings' [schedule] and `ckptd jobs run NAME`.
        description: one line for people.
        place: "module:function", imported in the process of the job and nowhere else.
    """

    name: str
    description: str
    place: str

    def load(self) -> JobFunction:
        """Import the job."""
        module, _, function = self.place.partition(":")
        loaded: JobFunction = getattr(import_module(module), function)
        return loaded

    def recover(self, context: JobContext) -> None:
        """Put in order what a run left that was broken off, where the job has something to put in order."""
        recover = getattr(import_module(self.place.partition(":")[0]), "recover", None)
        if recover is not None:
            recover(context)


#: In the order in which jobs run that became due at the same time: what only looks, and finds a last good copy, comes before
#: what removes for good, and the report says how all of them ended.
JOBS: tuple[JobEntry, ...] = (
    JobEntry("scrub", "read checkpoints again and compare their digests", "ckptd.jobs.scrubbing:run_scrub"),
    JobEntry("retention", "slim, archive and remove by the policy", "ckptd.jobs.retaining:run_retention"),
    JobEntry("drill", "restore a random member of an archive and compare its digest", "ckptd.jobs.drilling:run_drill"),
    JobEntry("purge", "remove for good what waited long enough in the trash", "ckptd.jobs.purging:run_purge"),
    JobEntry("report", "write the size report", "ckptd.jobs.reporting:run_report"),
)


def find_job(name: str, registry: tuple[JobEntry, ...] = JOBS) -> JobEntry:
    """Give a job by its name.

    Raises:
        UsageError: there is none.
    """
    for entry in registry:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in registry)
    raise UsageError("run a job", path=name, why="there is no job of that name", cure=f"there are {names}")
