"""What goes into the trash and comes out of it, as values: the orders and the answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ckptd.model import Finding, Identity


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that travels with its checkpoint.

    Attributes:
        path: relative to the root.
        identity: what the caller saw; another file stays where it is.
        what: "sidecar" or "export".
        sha256: of its content; None when the caller does not know it, and then it is read.
    """

    path: str
    identity: Identity
    what: str = "sidecar"
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """A checkpoint that is to go, and everything that somebody will ask about it later.

    Attributes:
        path: relative to the root, "/" between parts (surrogateescape).
        identity: of the file that was decided on.  Inode, size and mtime have to be the same; where the ctime is another
            (a chmod, a new hard link), the bytes are read, and only those of `sha256` go.
        sha256: of its content, lower-case hex.
        removed_at: now, seconds since the epoch (UTC).
        reasons: why, one phrase each, as they are; who prints them escapes.  At most 100 of 1,000 characters are kept.
        job, run: who does it ("retention", the id of the run).
        group: what it was a checkpoint of.
        companions: what travels with it.
    """

    path: str
    identity: Identity
    sha256: str
    removed_at: float
    reasons: tuple[str, ...] = ()
    job: str = ""
    run: str = ""
    group: str | None = None
    companions: tuple[Companion, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """A file that stayed where it was, and why, in one phrase."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Trashed:
    """A checkpoint that lies in the trash now.

    Attributes:
        entry: name of its entry.
        moved: paths of the companions that travelled along.
        left: the companions that did not.
        frees_bytes: blocks that a purge will give back; 0 while the file has another name.
        links: how many names the file has, the one in the trash included.
    """

    entry: str
    path: str
    sha256: str
    moved: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    frees_bytes: int = 0
    links: int = 1


@dataclass(frozen=True, slots=True)
class Replacement:
    """A smaller file that is to take the place of a checkpoint.

    Attributes:
        fd: a writable descriptor of the whole file, from `replacement_file`; it stays the caller's.
        sha256: of its content.
    """

    fd: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """A checkpoint that was replaced; the original lies in the trash.

    Attributes:
        entry: name of the entry that has the original.
        identity: of the new file in its place.
        findings: what is to be said about its group.
        frees_bytes: blocks that a purge of the original will give back.
    """

    entry: str
    path: str
    identity: Identity
    findings: tuple[Finding, ...] = ()
    frees_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back out of an entry.

    Attributes:
        path: where the checkpoint lies now, relative to the root; None when it was no longer in the entry.
        companions: paths of the companions that came back.
        left: what stays in the entry, since something lies in its place.
        damaged: paths of what came back with other bytes than were put in.
        directories: directories that were made anew.
        is_gone: the entry is empty and gone.
    """

    entry: str
    path: str | None
    companions: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    damaged: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    is_gone: bool = True


class PurgeOutcome(StrEnum):
    """What became of an entry that was to be purged; in all but the first no file was unlinked."""

    PURGED = "purged"
    #: It has not been there for as long as it has to.
    YOUNG = "young"
    #: It was put there later than now: the clock was set back.
    IN_THE_FUTURE = "in-the-future"
    #: A process has a file of it open.
    OPEN = "open"
    #: Nobody can say whether a process has it open, and the caller does not accept that.
    OPENNESS_UNKNOWN = "openness-unknown"
    #: What lies there is not what was put there; it went back to its place.
    GONE_BACK = "gone-back"
    #: Likewise, but something lies in its place, so it stays in the trash until a person looks.
    CHANGED = "changed"
    #: Kept aside, without a manifest, or with something in it that ckptd did not put there.
    BROKEN = "broken"
    #: A kill left it half done: sweep first.
    UNFINISHED = "unfinished"
    #: Another process works on it just now.
    BUSY = "busy"
    #: There is no such entry any more.
    NO_ENTRY = "no-entry"


@dataclass(frozen=True, slots=True)
class Purged:
    """What became of an entry that was to be purged.

    Attributes:
        path, sha256: of its checkpoint; None where that is not known, or only companions were left in the entry.
        freed_bytes: blocks that came back.
        links: other names that the checkpoint still has; above 0 its blocks did not come back.
        why: one sentence where it was not purged.
        back: paths of what went back to its place.
        left: what stays in the entry.
    """

    entry: str
    outcome: PurgeOutcome
    path: str | None = None
    sha256: str | None = None
    freed_bytes: int = 0
    links: int = 0
    why: str = ""
    back: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()


class Healing(StrEnum):
    """What a sweep did about something that a kill had left half done."""

    #: Nothing had been moved yet: the entry was removed.
    UNDONE = "undone"
    #: The checkpoint had been moved: its companions followed, and the entry is a whole one.
    FINISHED = "finished"
    #: Somebody's save had been moved in its stead and went back to its place.
    GIVEN_BACK = "given-back"
    #: Likewise, but something lies in its place: the entry keeps it until a person looks.
    KEPT_ASIDE = "kept-aside"
    #: A restore had given the checkpoint back: what travels with it followed.
    RESTORED = "restored"
    #: A purge had begun and had unlinked nothing: the entry is a whole one again.
    NOT_PURGED = "not-purged"
    #: A purge had unlinked the checkpoint: the rest went too.
    PURGED = "purged"
    #: Nothing is in it, or nothing any more: it was restored, taken out by hand, or all but removed by a purge.
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Healed:
    """One thing that a sweep put right.

    Attributes:
        path, sha256: of the checkpoint; None where no manifest says it.
        why: one sentence.
    """

    entry: str
    healing: Healing
    path: str | None = None
    sha256: str | None = None
    why: str = ""
