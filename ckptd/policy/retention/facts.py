"""What the policy knows of each checkpoint, gathered by others; values only.

A `Fact` holds no more than a decision needs, so that a hundred thousand of them are made and judged within a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptd.model import Kind, Openness, Status

#: What can be read and loaded again; a checkpoint of any other status is never a candidate and never "the last good one".
GOOD = frozenset((Status.OK, Status.NEEDS_CODE))


@dataclass(frozen=True, slots=True)
class Fact:
    """One checkpoint that lies in a root.

    Attributes:
        id: number of its place in the index.
        root: absolute path of its root; groups never reach beyond one.
        path: relative to the root, "/" between parts (surrogateescape).
        sha256: of its content; None where it was never read to its end.
        size_bytes: length of the file.
        allocated_bytes: what its blocks take on the disk.
        inode: (device, inode); hard links share it.
        links: how many names the file has, in or outside the root.
        group: what it is a checkpoint of ("BiLSTM_Attention · ECG"); None when that is not known surely enough, and then it
            is a group of its own and never a candidate.
        stored_group: the group that was written down for this content at this place before; "" when it was that the model is
            not known, None when nothing was written down yet.
        run: what tells the runs of one group apart, in the order of runs (a date, a seed, a directory); "" without.
        step, epoch: where in its run it was saved.
        modified_at, first_seen_at: seconds since the epoch, UTC.
        dated_at: the date in its content or its name, likewise; None without one.
        slimmed_at: when ckptd made it out of a larger one, likewise; None when it did not.
        scores: metric → value, finite; one value for each base metric ("accuracy"), of validation before test before train.
        optimizer_bytes: what slimming would take away.
        can_slim: True when a smaller file can be written that holds everything but optimizer and scheduler state.
        pins: why it must stay, in words, whatever the rules say ("pinned", "best.pth.keep lies beside it", "latest.pth
            points to it"); empty without.
        tags, aliases: names that people gave it.
        archives: names of verified archives that hold this very content.
        openness: whether a process has it open; UNKNOWN where nobody can say.
        holds: why nothing may be done to it just now, in words ("changed since it was read"); empty without.
    """

    id: int
    root: str
    path: str
    sha256: str | None
    status: Status
    kind: Kind | None
    size_bytes: int
    allocated_bytes: int
    inode: tuple[int, int]
    links: int = 1
    group: str | None = None
    stored_group: str | None = None
    run: str = ""
    step: int | None = None
    epoch: int | None = None
    modified_at: float = 0.0
    first_seen_at: float = 0.0
    dated_at: float | None = None
    slimmed_at: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    optimizer_bytes: int = 0
    can_slim: bool = False
    pins: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    openness: Openness = Openness.CLOSED
    holds: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Say whether it can be loaded again."""
        return self.status in GOOD

    @property
    def born_at(self) -> float:
        """Give the youngest of all times that are known of it: a copy that kept an old mtime is as young as the copying."""
        times = (self.modified_at, self.first_seen_at, self.dated_at or 0.0, self.slimmed_at or 0.0)
        return max(times)


@dataclass(frozen=True, slots=True)
class Removal:
    """A checkpoint that an earlier run took away; the brake counts those of the last days.

    Attributes:
        size_bytes: of the file; of a slimmed one what slimming dropped.
        at: seconds since the epoch.
        action: the step that was taken, as `Action` has it; "slim" counts by its bytes and not as a checkpoint.
    """

    root: str
    group: str | None
    size_bytes: int
    at: float
    action: str = "trash"


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of one root.

    Attributes:
        free_bytes: what is left on it for us.
        trash_bytes: what a purge of everything in the trash of the root would give back.
        device: st_dev of the root; roots with the same one share what is free.  None: the root has it for itself.
    """

    root: str
    free_bytes: int
    trash_bytes: int = 0
    device: int | None = None
