"""Put right what a kill left half done in the trash; at every start of a job, and as often as one likes.

| the manifest is | and in the entry lies | then |
|---|---|---|
| not there | nothing | the entry is removed |
| `intent.json` | nothing | the entry is removed: the original never left its place |
| `intent.json` | the checkpoint | its companions follow, and it is in the trash |
| `intent.json` | the new file of an exchange | that file and the entry are removed: the original never left its place |
| `intent.json` | somebody's save | it goes back to its place; where that is taken, `kept.json` |
| `purging.json` | the checkpoint | `manifest.json` again |
| `purging.json` | no checkpoint | the companions go too, and the entry |
| any with `restoring.json` | no checkpoint | the companions follow it to where it went |
| any | nothing | the entry is removed |

An entry on which a living process works is left to it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage.beneath import open_parent_beneath
from ckptd.storage.state import find_trash_dir
from ckptd.storage.temporary import TEMPORARY_NAME, discard
from ckptd.storage.trash.contents import Contents, State, read_contents
from ckptd.storage.trash.entries import ENTRY_NAME, OpenEntry, open_entry, remove_entry, set_state
from ckptd.storage.trash.exchanging import is_replacement, swap_back
from ckptd.storage.trash.holding import Hold
from ckptd.storage.trash.manifest import OWN_NAMES, TRASHED, Manifest, TrashedFile
from ckptd.storage.trash.moving import CLOSED_ONLY, kept_aside, rename_out
from ckptd.storage.trash.notes import forget_restoring, read_restoring
from ckptd.storage.trash.purging import finish_purge
from ckptd.storage.trash.putting import keep, move_companions
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.restoring import give_back
from ckptd.storage.trash.sources import Source, Wanted, open_source
from ckptd.storage.trash.values import Healed, Healing, Left
from ckptd.text import escape

_SWEEP = "put the trash in order"
#: For how long nothing has to have changed in an entry that can't be locked.
_QUIET_SECONDS = 60.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def sweep(root_fd: int, now: float) -> list[Healed]:
    """Finish or take back what was interrupted in the trash of a root; what was put right, oldest first.

    What it can't judge it leaves alone: `list_entries` names that.  A second sweep finds nothing to do.

    Args:
        root_fd: a readable descriptor of the root.
        now: seconds since the epoch; on a file system without locks an entry that changed within a minute is left alone.

    Raises:
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no; what was not healed is healed by the next sweep.
    """
    trash_fd = find_trash_dir(root_fd)
    if trash_fd is None:
        return []
    healed = []
    try:
        for name in sorted(os.listdir(trash_fd)):
            if TEMPORARY_NAME.fullmatch(name):
                _remove_unused(trash_fd, name)
            elif ENTRY_NAME.fullmatch(name) and (done := _sweep_one(root_fd, trash_fd, name, now)):
                healed.append(done)
    except OSError as error:
        raise said_no(_SWEEP, ".ckptd/trash", error) from error
    finally:
        os.close(trash_fd)
    return healed


def _remove_unused(trash_fd: int, name: str) -> None:
    """Remove a replacement in the making whose maker is dead; a living one has it open."""
    with contextlib.suppress(OSError):
        fd = os.open(name, _READ, dir_fd=trash_fd)
        try:
            with Hold(fd) as hold:
                if stat.S_ISREG(os.fstat(fd).st_mode) and hold.openness in CLOSED_ONLY:
                    discard(trash_fd, name)
        finally:
            os.close(fd)


def _sweep_one(root_fd: int, trash_fd: int, name: str, now: float) -> Healed | None:
    if _is_settled(trash_fd, name):
        return None
    try:
        with open_entry(trash_fd, name) as entry:
            if not entry.is_locked and os.fstat(entry.fd).st_mtime > now - _QUIET_SECONDS:
                return None
            return _heal(root_fd, entry, read_contents(entry.fd))
    except RefusedError as error:
        if error.refusal in (Refusal.BUSY, Refusal.NO_ENTRY):
            return None
        raise


def _is_settled(trash_fd: int, name: str) -> bool:
    """Tell by its names alone that nothing in an entry was interrupted, as in all but a few."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=trash_fd)
    except OSError:
        return True  # no directory, or gone
    try:
        names = set(os.listdir(fd))
    finally:
        os.close(fd)
    return OWN_NAMES & names == {TRASHED} and len(names) > 1


def _heal(root_fd: int, entry: OpenEntry, contents: Contents) -> Healed | None:
    manifest = contents.manifest
    if manifest is None:
        # One that can't be read explains nothing: what lies beside it is a person's to judge.
        removed = contents.state is None and remove_entry(entry)
        return Healed(entry.name, Healing.EMPTY, why="it was empty: it was just being made, or removed") if removed else None
    healing, why = _heal_readable(root_fd, entry, contents, manifest)
    if healing is None:
        return None
    return Healed(entry.name, healing, manifest.checkpoint.path, manifest.checkpoint.sha256, why)


_Answer = tuple[Healing | None, str]


def _heal_readable(root_fd: int, entry: OpenEntry, contents: Contents, manifest: Manifest) -> _Answer:
    if contents.is_restoring:
        return _finish_restore(root_fd, entry, contents)
    if contents.state is State.PURGING:
        return _finish_purge(entry, contents)
    if contents.state is State.INTENT:
        return _finish_put(root_fd, entry, contents, manifest)
    if contents.stored or not remove_entry(entry):
        return None, ""
    return Healing.EMPTY, "nothing is in it any more: it was restored, or taken out by hand"


def _finish_restore(root_fd: int, entry: OpenEntry, contents: Contents) -> _Answer:
    targets = read_restoring(entry.fd)
    for stored, target in targets.items():
        if stored in contents.stored and _is_at(root_fd, target, entry, stored):
            os.unlink(stored, dir_fd=entry.fd)  # restored by a link: it has its own name again, and this is the second
    now = read_contents(entry.fd)
    if now.holds_checkpoint:
        forget_restoring(entry)
        return None, ""
    wanted = {stored: target for stored, target in targets.items() if stored in now.stored}
    restored = give_back(root_fd, entry, now, wanted)
    return Healing.RESTORED, _say("what travels with it followed", restored.left)


def _is_at(root_fd: int, path: str, entry: OpenEntry, stored: str) -> bool:
    """Tell whether a file of an entry has a name at a place too."""
    try:
        dir_fd, name = open_parent_beneath(root_fd, path)
    except OSError:
        return False
    try:
        there = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        return os.path.samestat(there, os.stat(stored, dir_fd=entry.fd, follow_symlinks=False))
    except OSError:
        return False
    finally:
        os.close(dir_fd)


def _finish_purge(entry: OpenEntry, contents: Contents) -> _Answer:
    if contents.holds_checkpoint:
        set_state(entry, State.PURGING, State.TRASHED)
        return Healing.NOT_PURGED, "its purge was interrupted before anything was unlinked"
    return Healing.PURGED, _say("its purge was interrupted and is finished now", finish_purge(entry, contents))


def _finish_put(root_fd: int, entry: OpenEntry, contents: Contents, manifest: Manifest) -> _Answer:
    checkpoint = manifest.checkpoint
    if not contents.holds_checkpoint:
        return (Healing.UNDONE, "nothing had been moved yet") if remove_entry(entry) else (None, "")
    if is_replacement(entry, checkpoint.stored, manifest):
        os.unlink(checkpoint.stored, dir_fd=entry.fd)
        remove_entry(entry)
        return Healing.UNDONE, "the smaller file had not taken its place yet, or had come back"
    if not _is_original(entry, checkpoint):
        return _return_save(root_fd, entry, manifest)
    left = _fetch_companions(root_fd, entry, contents, manifest)
    set_state(entry, State.INTENT, State.TRASHED)
    os.fsync(entry.fd)
    return Healing.FINISHED, _say("it had been moved; what travels with it followed", left)


def _is_original(entry: OpenEntry, file: TrashedFile) -> bool:
    """Tell whether a moved file is the one that was meant; a device may have another number after a boot."""
    here = os.stat(file.stored, dir_fd=entry.fd, follow_symlinks=False)
    return stat.S_ISREG(here.st_mode) and Identity.of(here)[1:4] == file.identity[1:4]


def _return_save(root_fd: int, entry: OpenEntry, manifest: Manifest) -> _Answer:
    """Give a save that was moved in the stead of the checkpoint back to its place."""
    file = manifest.checkpoint
    try:
        dir_fd, name = open_parent_beneath(root_fd, file.path)
    except OSError as error:
        keep(entry)
        return Healing.KEPT_ASIDE, kept_aside(entry, file.path, error).why
    with Source(file.path, dir_fd, name) as place:
        try:
            if manifest.replacement is not None:
                swap_back(entry, file.stored, place, manifest.replacement.identity)
                with contextlib.suppress(FileNotFoundError):
                    if is_replacement(entry, file.stored, manifest):
                        os.unlink(file.stored, dir_fd=entry.fd)
            else:
                rename_out(entry.fd, file.stored, dir_fd, name)
            os.fsync(dir_fd)
        except (RefusedError, OSError) as error:
            keep(entry)
            return Healing.KEPT_ASIDE, error.why if isinstance(error, RefusedError) else kept_aside(entry, file.path, error).why
    remove_entry(entry)
    return Healing.GIVEN_BACK, "somebody had saved it while it was moved; that save is in its place again"


def _fetch_companions(root_fd: int, entry: OpenEntry, contents: Contents, manifest: Manifest) -> list[Left]:
    files, sources, left = list[TrashedFile](), list[Source](), list[Left]()
    with ExitStack() as opened:
        for file in manifest.companions:
            if file.stored in contents.stored:
                continue
            try:
                wanted = Wanted(file.what, file.path, file.identity, file.sha256)
                source = opened.enter_context(open_source(root_fd, entry.trash_fd, wanted))
            except StorageError as error:
                left.append(Left(file.path, error.why))
            else:
                files.append(file)
                sources.append(source)
        _, stayed = move_companions(entry, files, sources, CLOSED_ONLY)
        for source in sources:
            with contextlib.suppress(OSError):
                os.fsync(source.dir_fd)
    return [*left, *stayed]


def _say(what: str, left: Sequence[Left]) -> str:
    """Add to a sentence what stayed, when something did."""
    stayed = [f"{escape(one.path)} ({one.why})" for one in left]
    return f"{what}, but not {', '.join(stayed)}" if stayed else what
