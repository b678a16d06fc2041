"""What a report knows about upkeep: trash, archives, the plan, health and jobs; see `facts` for the units and for names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptd.model import Json
from ckptd.report.shares import Share


@dataclass(frozen=True, slots=True)
class Trash:
    """What waits in the trash of one root.

    Attributes:
        oldest_at: when the first of it came there; None when it is empty.
    """

    root: str
    entries: int
    size_bytes: int
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True)
class Archives:
    """All archives together.

    Attributes:
        members: checkpoints in them.
        size_bytes: of the archives; `original_bytes` of the members as they were.
        lost_members: that can't be had any more.
        damaged, missing: archives in these states.
        drilled_at: when a member was last restored as a drill.
    """

    count: int = 0
    members: int = 0
    size_bytes: int = 0
    original_bytes: int = 0
    lost_members: int = 0
    damaged: int = 0
    missing: int = 0
    oldest_at: float | None = None
    newest_at: float | None = None
    drilled_at: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """How much of a plan is of one action.

    Attributes:
        size_bytes: of the files.
        frees_bytes: blocks that come back.
    """

    action: str
    files: int
    size_bytes: int
    frees_bytes: int


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A decision that changes something or is held.

    Attributes:
        action: what would happen but for a brake.
        reasons: phrases; they may hold names as they are.
    """

    root: str
    path: str
    action: str
    size_bytes: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanAlert:
    """Something about a plan that a person should know; `group` is None where it concerns the root as a whole."""

    code: str
    root: str
    group: str | None
    message: str


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan in short.

    Attributes:
        frees_bytes: what it would give back if it were applied now; `held_bytes` what the held ones would.
        reasons: why checkpoints are kept: word → how many.
        held: the largest of those that wait for a person; `held_files` counts all.
    """

    id: str
    at: float
    frees_bytes: int
    actions: tuple[PlannedAction, ...]
    reasons: tuple[tuple[str, int], ...]
    held: tuple[PlannedFile, ...]
    held_files: int
    held_bytes: int
    alerts: tuple[PlanAlert, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A checkpoint that wants a look.

    Attributes:
        what: its status, or the code of the finding that says more than the status.
        message: of the finding, escaped already; empty when nothing is known.
    """

    root: str
    path: str
    what: str
    size_bytes: int
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong, and how far that is known.

    Attributes:
        troubles: the worst first; `trouble_files` counts all, with its parts by status and `non_finite_files`.
        rotten: places whose bytes changed since they were indexed, as the last scrub saw it.
        checked_files: places that were read again at least once; `oldest_check_at` the longest ago of these.
        freezes: why jobs that remove something stand still, in words.
    """

    statuses: tuple[Share, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    trouble_files: int = 0
    non_finite_files: int = 0
    rotten: tuple[str, ...] = ()
    rotten_files: int = 0
    checked_files: int = 0
    oldest_check_at: float | None = None
    freezes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobResult:
    """The last run of one job.

    Attributes:
        outcome: running, ok, failed, held or interrupted.
        finished_at: None while it runs.
        succeeded_at: when it last ended well; None for never.
        reason: in words; empty when all is well.
        summary: figures of the job's own.
    """

    job: str
    outcome: str
    started_at: float
    finished_at: float | None
    succeeded_at: float | None
    reason: str
    summary: Mapping[str, Json]
