"""Write archives, read them back, and write down what lies where; nothing is taken away here."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ckptd.archive.formats import find_format, format_of
from ckptd.archive.interface import ArchiveError, Format, Member, MemberChangedError, Receipt
from ckptd.archive.naming import is_archive_name, next_name
from ckptd.errors import StorageError
from ckptd.index.archived import (
    DAMAGED,
    MISSING,
    VERIFIED,
    Archived,
    ArchivedMember,
    load_archives,
    load_members,
    note_verified,
    put_archive,
)
from ckptd.index.batch import Batch
from ckptd.jobs.companions import find_companions
from ckptd.jobs.registry import JobContext
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json
from ckptd.settings import Settings
from ckptd.storage.beneath import open_beneath

#: In each directory of archives: one JSON line for whatever happened to an archive, only ever added to.
CATALOG = "ARCHIVES.jsonl"
#: What stays free on the file system of the archives where the settings name no floor, bytes.
LEAST_FREE_BYTES = 64 << 20

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checkpoint that is to be archived.

    Attributes:
        path: relative to its root.
        facts: for the manifest: group, metrics, why.
    """

    path: str
    sha256: str
    size_bytes: int
    facts: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive that was written and read back.

    Attributes:
        directory: absolute path of where it lies.
        paths: the checkpoints in it, as `Wanted` named them.
        left_out: path → why it is not in it.
    """

    name: str
    directory: str
    paths: tuple[str, ...]
    left_out: dict[str, str]


def archive_dir_of(settings: Settings, root: str) -> Path:
    """Give the directory of the archives of a root.

    A link that the settings name is the operator's; one in a root is whoever's can write there, and is not followed.
    """
    if settings.archive.directory is not None:
        return Path(os.path.realpath(settings.archive.directory))
    return Path(os.path.realpath(root), "archives")


@contextmanager
def open_archive_dir(path: Path, *, like: int | None = None, is_own: bool = False, known: Sequence[str] = ()) -> Iterator[int]:
    """Open a directory of archives.

    Args:
        path: of the directory.
        like: descriptor of the root whose group and permission bits it takes when it has to be made; None makes none.
        is_own: whether it lies in that root and is opened there, wherever its path leads by now.
        known: names of the archives that were written there; where none is left, it must not be taken for the same directory.

    Raises:
        StorageError: it can't be made or opened, or nothing of what was written there is left.
    """
    try:
        fd = _open_or_make(path, like, is_own=is_own, known=known)
    except OSError as error:
        cure = "make it, or set archive.directory to a directory where ckptd may write"
        why = os.strerror(error.errno or 0)
        if path.is_symlink():
            why, cure = "it is a link, which whoever can write there may have made", "set archive.directory to where it leads"
        raise StorageError("open the archives", path=path, why=why, cure=cure) from error
    try:
        yield fd
    finally:
        os.close(fd)


def write_archive(
    context: JobContext,
    root: WatchedRoot,
    wanted: Sequence[Wanted],
    *,
    format_name: str | None = None,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Stored:
    """Put checkpoints and what goes with them into one new archive, read it back, and write down what lies in it.

    A file that is no longer what the index knows is left out, and the rest is written.

    Args:
        context: what a job works with.
        root: where the checkpoints lie.
        wanted: at least one.
        format_name: other than that of the settings.
        progress: told the bytes that were worked through; it may raise to stop.

    Raises:
        ArchiveError: the archive can't be written, or was not what it should be when it was read back; nothing is left of it.
        StorageError: the directory can't be used.
    """
    made = find_format(format_name or context.settings.archive.format)
    path = archive_dir_of(context.settings, root.path)
    is_own = context.settings.archive.directory is None
    known = [one.name for one in context.store.ask(load_archives) if one.directory == str(path)]
    with open_archive_dir(path, like=root.handle.fd, is_own=is_own, known=known) as directory:
        _check_catalog(directory, path)
        receipt, left_out, members = _write(context, root, made, directory, known, wanted, progress)
        checked = made.verify(directory, receipt.name, progress)
        if not checked.is_whole:
            made.remove(directory, receipt.name)
            why = "; ".join(f"{lost.name}: {lost.why}".lstrip(": ") for lost in checked.lost[:3]) or "members are missing"
            raise ArchiveError(
                "read an archive back",
                path=path / receipt.name,
                why=f"it is not what was written: {why}",
                cure="check the disk",
            )
        _record(context, root.path, directory, path, made, receipt, members)
    paths = tuple(one.path for one in wanted if one.path not in left_out)
    return Stored(receipt.name, str(path), paths, left_out)


def adopt_archives(context: JobContext) -> list[str]:
    """Find archives that the index does not know (a kill came between), read them, and write them down; their names."""
    found = []
    for root in context.roots:
        if root.incident is not None:  # what lies there may be anybody's
            continue
        path = archive_dir_of(context.settings, root.path)
        if path.is_symlink() or not path.is_dir():
            continue  # a link is told where something is to be written; it must not keep all else from being done
        known = {(one.directory, one.name) for one in context.store.ask(load_archives)}
        with open_archive_dir(path) as directory:
            new = [name for name in sorted(os.listdir(directory)) if is_archive_name(name) and (str(path), name) not in known]
            found += [name for name in new if _adopt(context, root.path, directory, path, name)]
    return found


def find_absence(context: JobContext, archive: Archived) -> str | None:
    """Say why an archive can't be looked at: it lies in a root that is not to be believed just now; None when it can."""
    directory = Path(archive.directory)
    lost = (root for root in context.roots if root.incident is not None and directory.is_relative_to(root.path))
    return next((f"it lies in {root.path}: {root.incident}" for root in lost), None)


def is_there(context: JobContext, archive: Archived) -> bool:
    """Say whether the file of an archive lies where it was written; it is not read."""
    if find_absence(context, archive) is not None:
        return False
    try:
        return stat.S_ISREG(os.stat(Path(archive.directory, archive.name), follow_symlinks=False).st_mode)
    except OSError:
        return False


def verify_archive(context: JobContext, archive: Archived, progress: Callable[[int], None] = lambda _bytes: None) -> list[str]:
    """Read an archive from its first to its last byte and write down what is lost; one sentence for each loss.

    Raises:
        ArchiveError: it can't be opened, or lies in a root that is not to be believed just now; nothing is written down.
    """
    absence = find_absence(context, archive)
    if absence is not None:
        raise ArchiveError("read an archive", path=archive.name, why=absence, cure="ask again when the root is back")
    made, path = find_format(archive.format), Path(archive.directory)
    try:
        with open_archive_dir(path) as directory:
            os.stat(archive.name, dir_fd=directory, follow_symlinks=False)
            checked = made.verify(directory, archive.name, progress)
            sums = {entry.name: entry.sha256 for entry in checked.manifest.entries} if checked.manifest else {}
    except (StorageError, FileNotFoundError) as error:
        _note(context, archive, MISSING, (), f"it is not there: {error}")
        return [f"{archive.name}: it is not there"]
    members = {member.name: member for member in _members_of(context, archive)}
    good = {name for name in checked.good if name not in members or members[name].sha256 == sums.get(name)}
    lost = [name for name in members if name not in good]
    reasons = {one.name: one.why for one in checked.lost}
    state = VERIFIED if checked.is_whole and not lost else DAMAGED
    _note(context, archive, state, lost, "; ".join(reasons.values()))
    if state == VERIFIED:
        return []
    whole = [f"{archive.name}: {one.why}" for one in checked.lost if not one.name]
    replaced = "the archive holds other bytes under this name"
    return whole + [f"{archive.name}: {name} is lost: {reasons.get(name, replaced)}" for name in lost]


def append_catalog(directory: int, line: dict[str, Any]) -> None:
    """Add a line to the log of a directory of archives.

    Raises:
        OSError: the disk said no.
    """
    fd = os.open(CATALOG, _APPEND, 0o640, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{CATALOG} is no regular file")
        os.write(fd, json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(
    context: JobContext,
    root: WatchedRoot,
    made: Format,
    directory: int,
    known: Sequence[str],
    wanted: Sequence[Wanted],
    progress: Callable[[int], None],
) -> tuple[Receipt, dict[str, str], list[tuple[Member, str]]]:
    """Write, and write again without what turns out to have changed."""
    left_out: dict[str, str] = {}
    now, policy = context.now(), context.settings.policy
    day = datetime.fromtimestamp(now, ZoneInfo(context.settings.schedule.time_zone)).date()
    floor = max(policy.free_bytes or 0, LEAST_FREE_BYTES)
    while True:
        rest = [one for one in wanted if one.path not in left_out]
        if not rest:
            why = "; ".join(f"{path}: {reason}" for path, reason in left_out.items())
            raise ArchiveError("write an archive", why=f"no file is what it was any more: {why}", cure="it is tried again")
        members = [pair for one in rest for pair in _members(context, root, one)]
        name = next_name(directory, made.suffix, day, known)
        try:
            files = [member for member, _ in members]
            receipt = made.write(directory, name, files, now=now, free_bytes=floor, progress=progress)
        except MemberChangedError as error:
            owner = next((path for member, path in members if member.name == error.member), error.member)
            if owner in left_out:  # it was left out and still is not what it was: there is no end to this
                raise
            left_out[owner] = error.why
        else:
            return receipt, left_out, members


def _members(context: JobContext, root: WatchedRoot, one: Wanted) -> Iterator[tuple[Member, str]]:
    """Give a checkpoint and what goes with it as members, each with the path of the checkpoint."""
    fd = root.handle.fd
    mtime_ns, mode = _look_at(fd, one.path)
    facts: dict[str, Json] = {"root": root.path, **one.facts}
    opener = _opener(fd, one.path)
    yield Member(one.path, "checkpoint", opener, one.size_bytes, one.sha256, mtime_ns, mode, facts), one.path
    for companion in find_companions(context.store, root.path, fd, one.path, exports=context.settings.policy.exports):
        digest = _digest_of(fd, companion.path, companion.identity.size_bytes)
        if digest is None:
            continue
        size, mtime = companion.identity.size_bytes, companion.identity.mtime_ns
        member = Member(
            companion.path,
            companion.what,
            _opener(fd, companion.path),
            size,
            digest,
            mtime,
            companion.mode,
            {"root": root.path},
        )
        yield member, one.path


def _opener(root_fd: int, path: str) -> Callable[[], int]:
    return lambda: open_beneath(root_fd, path, _READ)


def _look_at(root_fd: int, path: str) -> tuple[int, int]:
    """Give mtime and permission bits; what is not there is found out when it is opened."""
    try:
        fd = open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return 0, 0o640
    try:
        seen = os.fstat(fd)
        return seen.st_mtime_ns, stat.S_IMODE(seen.st_mode)
    finally:
        os.close(fd)


def _digest_of(root_fd: int, path: str, size: int) -> str | None:
    """Hash a sidecar or an export, whose digest nobody knows yet; None when it changed under our eyes."""
    digest, done = hashlib.sha256(), 0
    try:
        fd = open_beneath(root_fd, path, _READ)
    except OSError:
        return None
    try:
        while block := os.read(fd, 1 << 20):
            digest.update(block)
            done += len(block)
            if done > size:
                return None
    except OSError:
        return None
    finally:
        os.close(fd)
    return digest.hexdigest() if done == size else None


def _record(
    context: JobContext,
    root: str,
    directory: int,
    path: Path,
    made: Format,
    receipt: Receipt,
    members: Sequence[tuple[Member, str]],
) -> None:
    now = context.now()
    archive = Archived(
        0, str(path), receipt.name, made.name, receipt.sha256, receipt.size_bytes, VERIFIED, now, now, None, len(members)
    )
    rows = [
        ArchivedMember(0, member.name, member.what, root, member.name, member.sha256, member.size_bytes)
        for member, _ in members
    ]
    _write_down(context, directory, archive, rows, "archive.written")


def _write_down(context: JobContext, directory: int, archive: Archived, rows: Sequence[ArchivedMember], what: str) -> None:
    """Write an archive into the log beside it, the journal and the index, in this order."""
    checkpoints = [row for row in rows if row.what == "checkpoint"]
    line = {
        "event": "archive",
        "directory": archive.directory,
        "name": archive.name,
        "format": archive.format,
        "sha256": archive.sha256,
        "size_bytes": archive.size_bytes,
        "at": archive.created_at,
        "state": archive.state,
    }
    try:
        append_catalog(directory, line | {"members": [{"path": row.path, "sha256": row.sha256} for row in rows]})
    except OSError as error:
        raise StorageError(
            "write the log of archives", path=Path(archive.directory, CATALOG), why=os.strerror(error.errno or 0) or str(error)
        ) from error
    context.journal.append([line])

    def write(batch: Batch) -> None:
        batch.tell(put_archive, archive, rows)
        why = {"archive": archive.name, "directory": archive.directory, "checkpoints": len(checkpoints)}
        batch.audit(what, None, None, archive.sha256, now=archive.verified_at, why=why, job="archive")
        for row in checkpoints:
            batch.audit("checkpoint.archived", row.root, row.path, row.sha256, now=archive.verified_at, why=why, job="archive")

    with context.store.batch() as batch:
        write(batch)
    context.log.info(what, archive=archive.name, directory=archive.directory, checkpoints=len(checkpoints))


def _adopt(context: JobContext, root: str, directory: int, path: Path, name: str) -> bool:
    made = format_of(name)
    if made is None:
        return False
    try:
        checked = made.verify(directory, name, lambda _bytes: None)
        size = os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
        digest = _digest_of(directory, name, size)
    except (ArchiveError, OSError) as error:
        context.log.warning("archive.unreadable", archive=name, directory=str(path), reason=str(error))
        return False
    if checked.manifest is None or digest is None:
        context.log.warning("archive.unreadable", archive=name, directory=str(path), reason="it has no manifest")
        return False
    now, good = context.now(), set(checked.good)
    state = VERIFIED if checked.is_whole else DAMAGED
    archive = Archived(0, str(path), name, made.name, digest, size, state, checked.manifest.created_at, now, None)
    rows = [
        ArchivedMember(
            0,
            entry.name,
            entry.what,
            _root_of(entry.facts, root),
            entry.name,
            entry.sha256,
            entry.size_bytes,
            entry.name not in good,
        )
        for entry in checked.manifest.entries
    ]
    try:
        _write_down(context, directory, archive, rows, "archive.found")
    except StorageError as error:  # a log that can't be written keeps nobody from restoring, nor from anything else
        context.log.warning("archive.unreadable", archive=name, directory=str(path), reason=str(error))
        return False
    return True


def _root_of(facts: Any, root: str) -> str:
    value = facts.get("root")
    return value if isinstance(value, str) and value.startswith("/") else root


def _members_of(context: JobContext, archive: Archived) -> list[ArchivedMember]:
    return context.store.ask(load_members, archive.id)


def _note(context: JobContext, archive: Archived, state: str, lost: Iterable[str], why: str) -> None:
    names, now = list(lost), context.now()
    with context.store.batch() as batch:
        batch.tell(note_verified, archive.id, state, names, now)
        reason: dict[str, Json] = {"archive": archive.name, "state": state}
        if names:
            reason["lost"] = list(names[:100])
        if why:
            reason["reason"] = why[:1_000]
        batch.audit(f"archive.{state}", None, None, archive.sha256, now=now, why=reason, job="archive")
    if state != VERIFIED:
        tell = context.log.bind(state=state)
        tell.error("archive.damaged", archive=archive.name, directory=archive.directory, lost=len(names), reason=why[:1_000])


def _open_or_make(path: Path, like: int | None, *, is_own: bool, known: Sequence[str]) -> int:
    """Open a directory that is no link; one that is not there, and never was, is made like the root, where that is said."""
    place, above = (path.name, like) if is_own else (path, None)
    is_new = False
    if like is not None and not known:
        with suppress(FileExistsError):
            os.mkdir(place, mode=0o700, dir_fd=above)
            is_new = True
    try:
        fd = os.open(place, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        if known:
            raise _emptied(path, known) from None
        raise
    try:
        if known and {CATALOG, *known}.isdisjoint(os.listdir(fd)):
            raise _emptied(path, known)
        if is_new and like is not None:
            _share(fd, os.fstat(like))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_catalog(directory: int, path: Path) -> None:
    """See that the log can be written, before an archive is that could not be written down.

    Raises:
        StorageError: it can't.
    """
    try:
        os.close(os.open(CATALOG, _APPEND & ~os.O_CREAT, dir_fd=directory))
    except FileNotFoundError:
        return
    except OSError as error:
        why, cure = os.strerror(error.errno or 0), "let ckptd's user write it"
        raise StorageError("write the log of archives", path=path / CATALOG, why=why, cure=cure) from error


def _emptied(path: Path, known: Sequence[str]) -> StorageError:
    """Say that nothing is left of what was written in a directory: it may be the empty one that a disk is mounted on."""
    what = "the archive that was written there is" if len(known) == 1 else f"the {len(known):,} archives written there are"
    why = f"{what} gone, and so is the log {CATALOG}: is its disk mounted?"
    cure = (
        "mount it, or set archive.directory to another directory; if you emptied it, and it is mounted, make an empty "
        f"{CATALOG} there that ckptd's user may write"
    )
    return StorageError("write an archive", path=path, why=why, cure=cure)


def _share(fd: int, like: os.stat_result) -> None:
    """Give a new directory the group and the permission bits of the root, as far as that is allowed."""
    try:
        os.fchown(fd, like.st_uid if os.geteuid() == 0 else -1, like.st_gid)
        os.fchmod(fd, stat.S_IMODE(like.st_mode) & 0o2775)
    except OSError:
        os.fchmod(fd, 0o750)
