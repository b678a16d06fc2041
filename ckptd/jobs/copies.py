"""Find the last good copy of a content: in another place, in the trash, in an archive.  What is offered was read just now.

Nothing is repaired here: a person is told where a good copy is and what brings it back.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ckptd.archive.formats import find_format
from ckptd.archive.interface import ArchiveError
from ckptd.errors import StorageError
from ckptd.index.archived import Archived, ArchivedMember, find_members, load_archives
from ckptd.index.ledger import find_places_of
from ckptd.index.store import Store
from ckptd.jobs.archiving import open_archive_dir
from ckptd.jobs.registry import JobContext
from ckptd.jobs.rereading import Pace, digest_of, hash_file, open_known
from ckptd.jobs.scratch_files import NoScratchError, scratch_file
from ckptd.model import Identity, RawIdentity
from ckptd.storage.beneath import open_beneath
from ckptd.storage.state import STATE, TRASH
from ckptd.storage.trash import list_entries

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: A rotten file that makes room for a good copy is kept under its name and this; no ending of a checkpoint.
ASIDE = ".rotten"


@dataclass(frozen=True, slots=True)
class Lost:
    """A checkpoint whose bytes are gone.

    Attributes:
        root: absolute path.
        path: relative to it.
        sha256: what it was.
    """

    root: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Where the same content should lie.

    Attributes:
        where: "place", "trash" or "archive".
        shown: for people; not escaped.
        command: what brings it back to where the lost one lay; not escaped.
        root: whose root it lies in; "" for an archive.
        path: relative to that root.
        member: of an archive; None elsewhere.
        archive: that has it.
    """

    where: str
    shown: str
    command: str
    root: str = ""
    path: str = ""
    member: ArchivedMember | None = None
    archive: Archived | None = None


@dataclass(slots=True)
class Search:
    """What became of a search.

    Attributes:
        found: the first copy that is whole.
        fd: descriptor of its bytes; None where it could not be read just now.
        bad: in words, the copies that are not whole.
    """

    found: Copy | None = None
    fd: int | None = None
    bad: list[str] = field(default_factory=list)


def list_copies(store: Store, roots: Iterable[tuple[str, int]], lost: Lost) -> Iterator[Copy]:
    """Give where copies should lie, as the index and the trash say, those that are brought back with the least first.

    Args:
        store: the index.
        roots: (path, descriptor) of those that are to be believed.
        lost: what is looked for.
    """
    known = dict(roots)
    places = [place for place in store.ask(find_places_of, lost.sha256) if place != (lost.root, lost.path)]
    for root, path in sorted(places, key=lambda place: place[0] != lost.root):
        if root in known:
            shown = f"{root}/{path}"
            yield Copy("place", shown, _command(lost, f"cp -p {_quote(shown)} {_quote(_absolute(lost))}"), root, path)
    for root, fd in sorted(known.items(), key=lambda one: one[0] != lost.root):
        yield from _list_trash(root, fd, lost)
    archives = {one.id: one for one in store.ask(load_archives)}
    for member in store.ask(find_members, [lost.sha256]):
        archive = archives[member.archive]
        yield Copy("archive", archive.name, _archive_command(lost, member, archive), member=member, archive=archive)


@contextmanager
def good_copy(context: JobContext, lost: Lost, pace: Pace) -> Iterator[Search]:
    """Find a copy by reading one after the other; the descriptor is closed at the end.

    A copy in an archive for which there is no scratch room is believed, where no other one is whole.

    Args:
        context: what a job works with.
        lost: what is looked for.
        pace: told the bytes of each copy that were read; it may raise to stop.
    """
    roots = {root.path: root.handle.fd for root in context.roots if root.incident is None}
    search = Search()
    unread: Copy | None = None
    with ExitStack() as stack:
        for copy in list_copies(context.store, roots.items(), lost):
            try:
                if copy.member is None:
                    search.fd = _open_whole(roots, copy, lost, context.now(), pace)
                    stack.callback(os.close, search.fd)
                else:
                    search.fd = stack.enter_context(_fetched(context, copy, lost, pace))
            except NoScratchError:
                unread = unread or copy
            except (OSError, StorageError, ArchiveError) as error:
                search.bad.append(f"{copy.shown}: {_why(error)}")
            else:
                search.found = copy
                break
        else:
            search.found = unread
        yield search


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _open_whole(roots: dict[str, int], copy: Copy, lost: Lost, now: float, pace: Pace) -> int:
    """Open a copy that is a file and read it to its end.

    Raises:
        OSError: it is not there, can't be read, is not whole, or is the lost file under another name.
    """
    identity = _identity_at(roots[copy.root], copy.path)
    if identity[:2] == _find_inode(roots[lost.root], lost.path):
        raise OSError("it is the same file under another name")
    fd = open_known(roots[copy.root], copy.path, identity)
    try:
        if hash_file(fd, identity[2], now, pace) != lost.sha256:
            raise OSError("its bytes are not those either")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _identity_at(root_fd: int, path: str) -> RawIdentity:
    fd = open_beneath(root_fd, path, _LOOK)
    try:
        return Identity.of(os.fstat(fd))
    finally:
        os.close(fd)


def _find_inode(root_fd: int, path: str) -> tuple[int, int] | None:
    try:
        return _identity_at(root_fd, path)[:2]
    except OSError:  # it is out of reach altogether
        return None


@contextmanager
def _fetched(context: JobContext, copy: Copy, lost: Lost, pace: Pace) -> Iterator[int]:
    """Restore a copy out of an archive into a scratch file, and compare its digest.

    Raises:
        NoScratchError: there is no room for it.
        ArchiveError: it can't be had from there.
        OSError: its bytes are others.
    """
    assert copy.member is not None
    assert copy.archive is not None
    with scratch_file(context, copy.member.size_bytes, near=lost.root) as fd:
        with open_archive_dir(Path(copy.archive.directory)) as directory:
            find_format(copy.archive.format).restore(directory, copy.archive.name, copy.member.name, fd)
        if digest_of(fd, os.fstat(fd).st_size, pace) != lost.sha256:
            raise OSError("its bytes are not those either")
        yield fd


def _list_trash(root: str, fd: int, lost: Lost) -> Iterator[Copy]:
    try:
        entries = list_entries(fd)
    except StorageError:
        return
    for entry in entries:
        if entry.manifest is None or not entry.holds_checkpoint or entry.problem:
            continue
        file = entry.manifest.checkpoint
        if file.sha256 != lost.sha256:
            continue
        words = f"ckptd trash restore {entry.name}"
        if (root, file.path) != (lost.root, lost.path):  # to another root it can't be restored: then it goes to where it lay
            words += f" --to {_quote(lost.path)}" if root == lost.root else ""
        path = f"{STATE}/{TRASH}/{entry.name}/{file.stored}"
        yield Copy("trash", f"the trash ({entry.name})", _command(lost, words), root, path)


def _archive_command(lost: Lost, member: ArchivedMember, archive: Archived) -> str:
    words = f"ckptd restore {_quote(member.path)} --from {_quote(archive.name)}"
    if (member.root, member.path) != (lost.root, lost.path):
        words += f" --to {_quote(os.path.dirname(_absolute(lost)))}"
    return _command(lost, words)


def _command(lost: Lost, bring: str) -> str:
    """Give the line for a shell: the rotten file is moved aside, never overwritten."""
    place = _absolute(lost)
    return f"mv -n {_quote(place)} {_quote(place + ASIDE)} && {bring}"


def _absolute(lost: Lost) -> str:
    return f"{lost.root}/{lost.path}"


def _quote(text: str) -> str:
    return shlex.quote(text)
