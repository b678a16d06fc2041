"""End what waited long enough in the trash: the only place where ckptd unlinks a user's file.

Every file of an entry is read again first.  What is not what was put there goes back to its place, and nothing of that entry is
unlinked; who has a file open keeps it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ckptd.errors import StorageError
from ckptd.model import Identity, Openness
from ckptd.storage.state import find_trash_dir
from ckptd.storage.trash.contents import Contents, State, read_contents
from ckptd.storage.trash.entries import OpenEntry, open_entry, remove_entry, set_state
from ckptd.storage.trash.holding import Hold
from ckptd.storage.trash.manifest import TrashedFile
from ckptd.storage.trash.moving import CLOSED_ONLY
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.restoring import give_back
from ckptd.storage.trash.sources import digest_of
from ckptd.storage.trash.values import Left, Purged, PurgeOutcome

_PURGE = "purge a file from the trash"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_WHY = {
    PurgeOutcome.OPEN: "a process has it open",
    PurgeOutcome.OPENNESS_UNKNOWN: "nobody can say whether a process has it open",
    PurgeOutcome.CHANGED: "its bytes are not those that were put into the trash",
}


class _Stop(Exception):  # noqa: N818 — an answer on its way out
    """A file is not unlinked."""

    def __init__(self, outcome: PurgeOutcome, file: TrashedFile) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.file = file


@dataclass(frozen=True, slots=True)
class _Proved:
    """A file that was read and has the bytes that were put there; `seen` is what it looked like before and after."""

    file: TrashedFile
    fd: int
    seen: os.stat_result


def purge(root_fd: int, entry: str, now: float, *, grace_seconds: float, accept: Collection[Openness] = CLOSED_ONLY) -> Purged:
    """Unlink what is in an entry, when it has been there long enough and is what was put there.

    Args:
        root_fd: a readable descriptor of the root.
        entry: its name.
        now: seconds since the epoch.
        grace_seconds: how long it has to have been there; 0 takes it at once.
        accept: what may be known about whether other processes have a file open.

    Raises:
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no; what was not unlinked is still there, and a second try goes on.
    """
    with ExitStack() as opened:
        trash_fd = find_trash_dir(root_fd)
        if trash_fd is None:
            return Purged(entry, PurgeOutcome.NO_ENTRY, why="this root has no trash")
        opened.callback(os.close, trash_fd)
        try:
            here = opened.enter_context(open_entry(trash_fd, entry))
        except RefusedError as error:
            outcome = PurgeOutcome.BUSY if error.refusal is Refusal.BUSY else PurgeOutcome.NO_ENTRY
            return Purged(entry, outcome, why=error.why)
        try:
            return _purge(root_fd, here, now, grace_seconds, accept)
        except OSError as error:
            raise said_no(_PURGE, entry, error) from error


def _purge(root_fd: int, entry: OpenEntry, now: float, grace_seconds: float, accept: Collection[Openness]) -> Purged:
    contents = read_contents(entry.fd)
    answer = Purged(entry.name, PurgeOutcome.BROKEN)
    if contents.manifest is not None:
        checkpoint = contents.manifest.checkpoint
        if contents.holds_checkpoint:
            answer = replace(answer, path=checkpoint.path, sha256=checkpoint.sha256)
        answer = _find_obstacle(answer, contents, now - contents.manifest.removed_at, grace_seconds)
    if contents.manifest is None or answer.why:
        return replace(answer, why=answer.why or contents.problem)
    if not contents.stored:
        remove_entry(entry)
        return replace(answer, outcome=PurgeOutcome.NO_ENTRY, why="nothing is in it any more")
    with ExitStack() as opened:
        try:
            proved = [_prove(entry, file, accept, opened) for file in contents.stored.values()]
            freed, links, left = _unlink_all(entry, proved, accept)
        except _Stop as stop:
            if stop.outcome is PurgeOutcome.CHANGED:
                return _go_back(root_fd, entry, contents, answer)
            why = _say_why(stop)
            return replace(answer, outcome=stop.outcome, why=why, left=(Left(stop.file.path, why),))
    return replace(answer, outcome=PurgeOutcome.PURGED, freed_bytes=freed, links=links, left=left)


def _find_obstacle(answer: Purged, contents: Contents, age: float, grace_seconds: float) -> Purged:
    if contents.state is State.KEPT:
        return replace(answer, why="it keeps a file that somebody saved while ckptd moved another: a person has to look")
    if contents.state is not State.TRASHED or contents.is_restoring:
        return replace(answer, outcome=PurgeOutcome.UNFINISHED, why="something that ckptd did with it was interrupted")
    if contents.others:
        return replace(answer, why=contents.problem)
    if not age >= 0:  # put so that a time which is none unlinks nothing
        why = "it was put there later than now: the clock was set back"
        return replace(answer, outcome=PurgeOutcome.IN_THE_FUTURE, why=why)
    if not age >= grace_seconds:
        return replace(answer, outcome=PurgeOutcome.YOUNG, why="it has not been there for long enough")
    return answer


def _prove(entry: OpenEntry, file: TrashedFile, accept: Collection[Openness], opened: ExitStack) -> _Proved:
    """Read a file and see that it is the one that was put there.

    Raises:
        _Stop: it is not, or somebody has it open.
    """
    if not stat.S_ISREG(os.stat(file.stored, dir_fd=entry.fd, follow_symlinks=False).st_mode):
        raise _Stop(PurgeOutcome.CHANGED, file)
    fd = os.open(file.stored, _READ, dir_fd=entry.fd)
    opened.callback(os.close, fd)
    seen = os.fstat(fd)
    with Hold(fd) as hold:  # asked now too, so that nothing large is read in vain; and let go, since reading takes its time
        _check_openness(hold, file, accept)
    if digest_of(fd) != file.sha256 or Identity.of(os.fstat(fd)) != Identity.of(seen):
        raise _Stop(PurgeOutcome.CHANGED, file)
    return _Proved(file, fd, seen)


def _check_openness(hold: Hold, file: TrashedFile, accept: Collection[Openness]) -> None:
    if hold.openness not in accept:
        is_open = hold.openness is Openness.OPEN
        raise _Stop(PurgeOutcome.OPEN if is_open else PurgeOutcome.OPENNESS_UNKNOWN, file)


def _unlink_all(entry: OpenEntry, proved: list[_Proved], accept: Collection[Openness]) -> tuple[int, int, tuple[Left, ...]]:
    """Unlink proved files, the checkpoint first; the bytes that came back, its other names, and what had to stay.

    The entry says before that it is being purged: a sweep finishes it once the checkpoint is gone, and takes it back before.
    """
    freed, links, left = 0, 0, list[Left]()
    set_state(entry, State.TRASHED, State.PURGING)
    for index, one in enumerate(proved):
        try:
            now_freed, other_names = _unlink(entry, one, accept)
        except (_Stop, OSError) as error:
            if index == 0:
                set_state(entry, State.PURGING, State.TRASHED)
                raise
            left.append(Left(one.file.path, _say_why(error)))
            continue
        freed += now_freed
        if one.file.what == "checkpoint":
            links = other_names
    if left:
        set_state(entry, State.PURGING, State.TRASHED)
    os.fsync(entry.fd)
    remove_entry(entry)
    return freed, links, tuple(left)


def _unlink(entry: OpenEntry, proved: _Proved, accept: Collection[Openness]) -> tuple[int, int]:
    """Unlink a user's file; this is the only line of ckptd that does.

    Returns:
        The bytes that came back, and how many other names the file has; with one of those none come back.

    Raises:
        _Stop: somebody opened or changed it since it was read.
    """
    with Hold(proved.fd) as hold:
        _check_openness(hold, proved.file, accept)
        here = os.stat(proved.file.stored, dir_fd=entry.fd, follow_symlinks=False)
        if not os.path.samestat(here, proved.seen) or Identity.of(os.fstat(proved.fd)) != Identity.of(proved.seen):
            raise _Stop(PurgeOutcome.CHANGED, proved.file)
        os.unlink(proved.file.stored, dir_fd=entry.fd)
    return (here.st_blocks * 512 if here.st_nlink == 1 else 0), here.st_nlink - 1


def _say_why(error: _Stop | OSError) -> str:
    return _WHY[error.outcome] if isinstance(error, _Stop) else os.strerror(error.errno or 0)


def _go_back(root_fd: int, entry: OpenEntry, contents: Contents, answer: Purged) -> Purged:
    """Give everything in an entry back to its place; what can't go back stays."""
    targets = {stored: file.path for stored, file in contents.stored.items()}
    try:
        restored = give_back(root_fd, entry, contents, targets)
    except StorageError as error:
        why = f"{_WHY[PurgeOutcome.CHANGED]}, and it could not go back to its place: {error.why}"
        return replace(
            answer, outcome=PurgeOutcome.CHANGED, why=why, left=tuple([Left(path, why) for path in targets.values()])
        )
    back = tuple([path for path in (restored.path, *restored.companions) if path is not None])
    why = f"{_WHY[PurgeOutcome.CHANGED]}: it went back to its place"
    return replace(answer, outcome=PurgeOutcome.GONE_BACK, why=why, back=back, left=restored.left)


def finish_purge(entry: OpenEntry, contents: Contents) -> tuple[Left, ...]:
    """Unlink what a purge left that a kill interrupted after the checkpoint was gone; what had to stay.

    Raises:
        OSError: the disk said no.
    """
    left = list[Left]()
    with ExitStack() as opened:
        for file in contents.stored.values():
            try:
                _unlink(entry, _prove(entry, file, CLOSED_ONLY, opened), CLOSED_ONLY)
            except _Stop as stop:
                left.append(Left(file.path, _say_why(stop)))
    if left:
        set_state(entry, State.PURGING, State.TRASHED)
    remove_entry(entry)
    return tuple(left)
