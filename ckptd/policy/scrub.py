"""Which checkpoint is read again next, how long a reading may take, and what a reading of the past still says.

What was bad and may be repaired comes first, then what was never read again, the longest known before others, then what was
read again longest ago.  Each root gets its share of the bytes, so that a root full of newcomers keeps no other one waiting.

The clock may lie.  A check of the future was written under a clock that was ahead: nobody knows when it was made, so it counts
as older than any that can be true.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from ckptd.model import RawIdentity

#: Root and path relative to it.
Place = tuple[str, str]

#: What opening a file costs beside its bytes, as bytes, so that many small files weigh something too.  Source: a seek of a
#: hard disk takes 8 ms, in which it reads 1 MiB.
_FILE_BYTES = 1 << 20
#: A reading is not judged by the first tenth of its time: a disk that sleeps takes some seconds to wake up.
_PATIENCE = 0.1


class Outcome(StrEnum):
    """What reading a file again said."""

    #: Every byte is what it was.
    OK = "ok"
    #: The same file, and other bytes: the disk lost them.
    ROTTEN = "rotten"
    #: Another file than the index knows, or none: nothing can be said of it.
    CHANGED = "changed"
    #: The disk or the kernel refused to give the bytes.
    UNREADABLE = "unreadable"
    #: Reading it takes longer than a run may take.
    UNFINISHED = "unfinished"


#: Outcomes after which a checkpoint is not good, whatever the index says of its content.
BAD = frozenset((Outcome.ROTTEN, Outcome.UNREADABLE))


class Checked(Protocol):
    """What is remembered of the last reading of a place; a row of the index looks so."""

    @property
    def sha256(self) -> str:
        """Give the digest that it should have had."""

    @property
    def at(self) -> float:
        """Give when it was, in seconds since the epoch."""

    @property
    def outcome(self) -> str:
        """Give one of `Outcome`."""


class Turn(NamedTuple):
    """A checkpoint that waits to be read again.

    Attributes:
        root, path: where it lies.
        sha256: what it should be.
        identity: which file was read when that became known.
        first_seen_at: seconds since the epoch.
        checked_at: when this content was last read again here; None when it never was, or as another file.
        before: what came out then; None when it never was.
    """

    root: str
    path: str
    sha256: str
    identity: RawIdentity
    first_seen_at: float
    checked_at: float | None = None
    before: Outcome | None = None

    @property
    def size_bytes(self) -> int:
        """Give what there is to read."""
        return self.identity[2]


def find_last(check: Checked | None, sha256: str, changed_at: float, now: float) -> tuple[float | None, Outcome | None]:
    """Give when a content was last read again where it lies, and what came out; None for what there is not.

    Other bytes than were read then were never read again.  What was bad and was changed since, as when somebody copied a good
    copy over it, waits for its first reading again, but is bad until then.

    Args:
        check: of that place; None without one.
        sha256: of what lies there now.
        changed_at: when that file last changed in any way, its ctime, in seconds since the epoch.
        now: likewise; a ctime of the future proves nothing.
    """
    if check is None or check.sha256 != sha256:
        return None, None
    outcome = _read_outcome(check)
    if outcome in BAD and check.at < changed_at <= now:
        return None, outcome
    return check.at, outcome


def find_bad(checks: Mapping[Place, Checked], contents: Mapping[Place, str]) -> dict[Place, Outcome]:
    """Give the places whose content is not to be believed, each with why: no "last good one" of a group, and never a candidate.

    A bad one stays bad until it is read again, whatever else becomes of the file.  Where it was renamed, the check stays with
    the old name: then every place of its root with this content that has no check of its own is taken for it.

    Args:
        checks: (root, path) → what the last reading said.
        contents: (root, path) → digest that the index has for it, of every checkpoint that is there.
    """
    bad: dict[Place, Outcome] = {}
    moved: dict[tuple[str, str], Outcome] = {}
    for place, check in checks.items():
        outcome = _read_outcome(check)
        if outcome not in BAD or outcome is None:
            continue
        if contents.get(place) == check.sha256:
            bad[place] = outcome
        else:
            moved[place[0], check.sha256] = outcome
    if moved:
        for place, sha256 in contents.items():
            own = checks.get(place)
            if (place[0], sha256) in moved and (own is None or own.sha256 != sha256):
                bad[place] = moved[place[0], sha256]
    return bad


def order_turns(turns: Iterable[Turn], checked_at: Mapping[str, Iterable[float]], now: float) -> list[Turn]:
    """Say in which order checkpoints are read again.

    Args:
        turns: in any order.
        checked_at: root → when anything in it was read again, in any order; the root that waited longest begins.
        now: seconds since the epoch.
    """
    queues: dict[str, list[Turn]] = {}
    for turn in turns:
        queues.setdefault(turn.root, []).append(turn)
    for queue in queues.values():
        queue.sort(key=lambda turn: _urgency(turn, now), reverse=True)  # the most urgent one is popped first
    waited = {root: max((at for at in checked_at.get(root, ()) if at <= now), default=float("-inf")) for root in queues}
    heap = [(0, waited[root], root) for root in queues]
    heapq.heapify(heap)
    ordered = []
    while heap:
        taken_bytes, last, root = heapq.heappop(heap)
        turn = queues[root].pop()
        ordered.append(turn)
        if queues[root]:
            heapq.heappush(heap, (taken_bytes + turn.size_bytes + _FILE_BYTES, last, root))
    return ordered


def is_hopeless(size_bytes: int, done_bytes: int, elapsed_seconds: float, limit_seconds: float) -> bool:
    """Say whether a reading should be given up: it has used its time, or at its speed it would need more than twice of it.

    Args:
        size_bytes: of the file.
        done_bytes: that were read.
        elapsed_seconds: since its first byte.
        limit_seconds: how long one file may take.
    """
    if elapsed_seconds >= limit_seconds:
        return done_bytes < size_bytes
    return elapsed_seconds >= _PATIENCE * limit_seconds and elapsed_seconds * size_bytes > 2 * limit_seconds * done_bytes


def _urgency(turn: Turn, now: float) -> tuple[int, float, str]:
    if turn.checked_at is None:
        return (0 if turn.before in BAD else 1), turn.first_seen_at, turn.path
    return (2 if turn.checked_at > now else 3), turn.checked_at, turn.path


def _read_outcome(check: Checked) -> Outcome | None:
    try:
        return Outcome(check.outcome)
    except ValueError:  # a word of a newer ckptd
        return None
