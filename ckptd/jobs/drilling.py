"""The drill job: take a random member out of a random archive, as one would in need, and see whether it is what it was.

An archive that is only ever written proves nothing.  The longer ago an archive was drilled, the likelier it is drawn; what is
restored goes into a scratch file and is gone at the end.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

from ckptd.archive.formats import find_format
from ckptd.archive.interface import ArchiveError
from ckptd.errors import CkptdError, StorageError
from ckptd.index.archived import MISSING, Archived, ArchivedMember, load_archives, load_members, note_drilled
from ckptd.jobs.archiving import find_absence, is_there, open_archive_dir, verify_archive
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.rereading import StoppedError, check_stop, digest_of, forget
from ckptd.jobs.scratch_files import NoScratchError, scratch_file, sweep_scratches
from ckptd.model import Json
from ckptd.policy.drill import weigh_archives
from ckptd.text import escape

JOB = "drill"
#: Losses that are named in one sentence.
_MOST_SHOWN = 3
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class DrillError(CkptdError):
    """What came out of an archive is not what went in."""

    permanent = False


def run_drill(context: JobContext, random: Random | None = None) -> JobOutcome:
    """Restore one member of one archive into a scratch file and compare its digest.

    Args:
        context: what a job works with.
        random: draws archive and member; one of its own when None.
    """
    archives = context.store.ask(load_archives)
    if not archives:
        return JobOutcome("ok", {"archives": 0}, "nothing to drill: there are no archives")
    away = {archive.id: absence for archive in archives if (absence := find_absence(context, archive)) is not None}
    archives = [archive for archive in archives if archive.id not in away]
    if not archives:
        return JobOutcome("ok", {"archives": 0}, f"nothing to drill: {escape(next(iter(away.values())), 1_000)}")
    archive, member = _draw(context, archives, random or Random())  # noqa: S311 — nobody gains by foreseeing it
    summary: dict[str, Json] = {"archives": len(archives), "archive": archive.name, "directory": archive.directory}
    if member is None:
        why = "nothing in it can be restored any more"
        return _fail(context, archive, None, summary, why, f"`ckptd archives {archive.name}` says what was in it")
    summary |= {"member": member.name, "root": member.root, "path": member.path, "bytes": member.size_bytes}
    try:
        _restore(context, archive, member)
    except StoppedError as error:
        return JobOutcome("interrupted", summary, str(error))
    except NoScratchError as error:
        return _fail(context, archive, member, summary, error.why, error.cure)
    except CkptdError as error:
        if _is_full(error):
            return _fail(context, archive, member, summary, "the disk became full", "free some space; it is tried again")
        return _look_closer(context, archive, member, summary, error)
    _record(context, archive, member)
    return JobOutcome("ok", summary)


def recover(context: JobContext) -> None:
    """Remove the scratch files that a kill left."""
    sweep_scratches(context)


def _draw(context: JobContext, archives: list[Archived], random: Random) -> tuple[Archived, ArchivedMember | None]:
    """Draw an archive that should be there, and a checkpoint in it that is not known to be lost."""
    there = [archive for archive in archives if archive.state != MISSING or is_there(context, archive)] or archives
    weights = weigh_archives([archive.drilled_at for archive in there], context.now())
    archive = random.choices(there, weights)[0]
    members = [member for member in context.store.ask(load_members, archive.id) if not member.is_lost]
    # Metadata files are as many and a thousandth as large; they are drawn only where there is nothing else.
    members = [member for member in members if member.what == "checkpoint"] or members
    return archive, random.choice(members) if members else None


def _restore(context: JobContext, archive: Archived, member: ArchivedMember) -> None:
    """Restore a member into a scratch file.

    Raises:
        NoScratchError: it fits nowhere.
        StoppedError: this process is to end.
        StorageError: the archive's directory is not there.
        ArchiveError: the archive does not give it.
        DrillError: it is something else.
    """

    def keep_going(_done_bytes: int) -> None:
        check_stop(context.stop)

    with (
        open_archive_dir(Path(archive.directory)) as directory,
        scratch_file(context, member.size_bytes, near=member.root) as fd,
    ):
        _forget(directory, archive.name, context.now())
        find_format(archive.format).restore(directory, archive.name, member.name, fd)
        if os.fstat(fd).st_size != member.size_bytes or digest_of(fd, member.size_bytes, keep_going) != member.sha256:
            why = "the archive gives other bytes by this name than were put into it"
            raise DrillError("restore a file from an archive", path=member.name, why=why)


def _forget(directory: int, name: str, now: float) -> None:
    """Drop the archive from memory, so that it comes from the disk."""
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except OSError:  # who restores from it says why
        return
    try:
        forget(fd, now)
    finally:
        os.close(fd)


def _is_full(error: CkptdError) -> bool:
    cause = error.__cause__
    return isinstance(error, (ArchiveError, StorageError)) and isinstance(cause, OSError) and cause.errno in _FULL


def _look_closer(
    context: JobContext, archive: Archived, member: ArchivedMember, summary: dict[str, Json], error: CkptdError
) -> JobOutcome:
    """Read an archive that did not give a member from end to end, so that the index knows what it lost."""

    def keep_going(_done_bytes: int) -> None:
        check_stop(context.stop)

    why = error.why or str(error)
    try:
        losses = verify_archive(context, archive, keep_going)
    except StoppedError as stopped:
        return _fail(context, archive, member, summary, f"{why}; {stopped}", f"`ckptd archive verify {archive.name}`")
    except ArchiveError as unreadable:
        losses = [str(unreadable)]
    summary["losses"] = len(losses)
    if losses:
        more = f" and {len(losses) - _MOST_SHOWN:,} more losses" if len(losses) > _MOST_SHOWN else ""
        why = "; ".join([why, *losses[:_MOST_SHOWN]]) + more
    cure = f"`ckptd archives {archive.name}` says what is lost: archive again what is still in a root or in the trash"
    if not os.path.lexists(os.path.join(archive.directory, archive.name)):
        cure = f"bring it back to {archive.directory}, or mount what lies there"
    return _fail(context, archive, member, summary, why, cure)


def _record(context: JobContext, archive: Archived, member: ArchivedMember) -> None:
    now = context.now()
    why: dict[str, Json] = {"archive": archive.name, "directory": archive.directory, "member": member.name}
    with context.store.batch() as batch:
        batch.tell(note_drilled, archive.id, now)
        batch.audit("drill.finished", member.root, member.path, member.sha256, now=now, why=why, job=JOB)
    context.log.info("drill.finished", **why, digest=member.sha256, bytes=member.size_bytes)


def _fail(
    context: JobContext, archive: Archived, member: ArchivedMember | None, summary: dict[str, Json], reason: str, cure: str
) -> JobOutcome:
    why: dict[str, Json] = {"archive": archive.name, "directory": archive.directory, "reason": reason[:1_000]}
    root = path = sha256 = None
    if member is not None:
        root, path, sha256 = member.root, member.path, member.sha256
        why["member"] = member.name
    with context.store.batch() as batch:
        batch.audit("drill.failed", root, path, sha256, now=context.now(), why=why, job=JOB)
    context.log.error("drill.failed", **why, cure=cure)
    name = archive.name if member is None else f"{archive.name}: {member.name}"
    return JobOutcome("failed", summary, f"{escape(name, 1_000)}: {escape(reason, 1_000)} ({escape(cure, 1_000)})")
