"""The full picture: which wanted files lie below a root, walked by descriptors, following no link.

`scan` reads a whole tree or a part of it, `observe` looks at one path; both give facts and judge nothing.  Whatever
cannot be read becomes a `Problem`, and the directory is named in `Scan.unread`: what was known in there is then in
doubt, not gone.

100,000 files: 1.3 times a bare scandir + stat walk (bench).  So the inner loop tests the name before it asks for a stat,
and makes no object but the identity and the path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ckptd.model import MOST_INT64, Finding, Identity, RawIdentity, Severity
from ckptd.text import escape
from ckptd.watch.links import Link, read_link
from ckptd.watch.wanted import Wanted

#: Directories below directories.  Each level of a walk holds a descriptor; a tree this deep was made to annoy.
MAX_DEPTH = 100
#: Entries of one directory above which a finding says so; every look at it takes a second and more.
HUGE_DIRECTORY = 200_000
#: A breath in a large directory is taken every so many entries; all bits set.  On a slow share each entry is a question.
_BREATH = 1_023
#: Problems kept of one scan; a tree with more is told about in numbers.
MAX_PROBLEMS = 1_000

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How the hidden files begin under which sidecars are written.  Source: storage/temporary.py.
_OWN_HIDDEN = ".ckptd-"
_FILE_TYPE, _REGULAR = 0o170000, 0o100000  # S_IFMT, S_IFREG, without the call of stat.S_ISREG in the inner loop
#: What a path answers that was removed or swapped for something else since its directory was listed.  ESTALE is none: a
#: server that was started anew, or a share mounted anew, says so of files that are there.
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def _go_on() -> None:
    """Let a walk go on."""


class Problem(NamedTuple):
    """Something below the root that wants a finding or a record of its own.

    Attributes:
        path: relative to the root, raw (surrogateescape); "" is the root.
        identity: of what lies there, None where that is not known.
    """

    path: str
    identity: Identity | None
    finding: Finding


@dataclass(slots=True)
class Scan:
    """What one walk saw.

    Attributes:
        files: relative path → identity of every wanted regular file.
        aliases: link → what it points to, both relative to the root; the target is a directory or a wanted file.
        problems: at most MAX_PROBLEMS, in the order of the walk.
        unread: directories whose content is not known this time ("" is the root); nothing in there counts as vanished.
        devices: st_dev of every directory that was read; a known file on none of them was on a mount that is gone.
        directories: how many directories were read.
        leftovers: directories that hold a hidden file of ours, which a kill may have left.
    """

    files: dict[str, RawIdentity] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    devices: set[int] = field(default_factory=set)
    directories: int = 0
    leftovers: set[str] = field(default_factory=set)


class RegularFile(NamedTuple):
    """A wanted file lies there."""

    identity: Identity


class Directory(NamedTuple):
    """A directory lies there; scan it to know what is in it."""


class Absent(NamedTuple):
    """Nothing that is looked at lies there: gone, unwanted, or below a link."""


Observation = RegularFile | Directory | Link | Problem | Absent


def scan(root_fd: int, wanted: Wanted, below: str = "", *, breathe: Callable[[], None] = _go_on) -> Scan:
    """Walk everything below `root_fd`, or below the directory `below` in it.

    Bounded: one descriptor a level, nothing is kept of an unwanted name.  A directory that vanishes meanwhile is no
    problem; one that cannot be read is, and is in `unread`.

    Args:
        root_fd: the open root.
        wanted: which names are looked at.
        below: a path relative to the root; "" for all of it.
        breathe: called for each directory, and in large ones now and then; what it raises ends the walk.
    """
    found = Scan()
    if below and not wanted.enters(below):
        return found
    try:
        fd = _open_below(root_fd, below)
    except OSError as error:
        _note_unread(found, below, error)
        return found
    _walk(root_fd, fd, below, wanted, found, breathe)
    return found


def observe(root_fd: int, path: str, wanted: Wanted) -> Observation:
    """Look at one path as a scan would."""
    parent = path.rpartition("/")[0]
    if not path:
        return Directory()
    if path[0] == "/" or path.count("/") >= MAX_DEPTH or not wanted.enters(parent):
        return Absent()
    try:
        directory = _open_below(root_fd, parent)
    except OSError as error:
        return Absent() if error.errno in _VANISHED else _unreadable(path, error)
    try:
        return _observe_entry(root_fd, directory, path, wanted)
    finally:
        os.close(directory)


def _observe_entry(root_fd: int, directory: int, path: str, wanted: Wanted) -> Observation:
    try:
        seen = os.stat(path.rpartition("/")[2], dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        return Absent() if error.errno in _VANISHED else _unreadable(path, error)
    if stat.S_ISDIR(seen.st_mode):
        return Directory() if wanted.enters(path) else Absent()
    if stat.S_ISLNK(seen.st_mode):
        link = read_link(root_fd, path, wanted)
        return Problem(path, Identity.of(seen), link) if isinstance(link, Finding) else link or Absent()
    if not wanted.wants_path(path):
        return Absent()
    return RegularFile(Identity.of(seen)) if stat.S_ISREG(seen.st_mode) else _not_regular(path, seen)


class _Level(NamedTuple):
    """A directory on the way down: its descriptor, its path with "/" at its end, and what is still to be walked in it."""

    fd: int
    prefix: str
    names: Iterator[str]


def _walk(root_fd: int, top_fd: int, top: str, wanted: Wanted, found: Scan, breathe: Callable[[], None]) -> None:
    stack: list[_Level] = []
    try:
        _enter(root_fd, stack, top_fd, top, wanted, found, breathe)
        while stack:
            level = stack[-1]
            name = next(level.names, None)
            if name is None:
                os.close(stack.pop().fd)
                continue
            path = level.prefix + name
            if len(stack) >= MAX_DEPTH:
                found.unread.add(path)
                _note(found, path, None, "directory-too-deep", f"more than {MAX_DEPTH} directories deep, not read")
                continue
            try:
                fd = os.open(name, _OPEN_DIRECTORY, dir_fd=level.fd)
            except OSError as error:
                _note_unread(found, path, error)
                continue
            _enter(root_fd, stack, fd, path, wanted, found, breathe)
            breathe()
    finally:
        for level in stack:
            os.close(level.fd)


def _enter(
    root_fd: int, stack: list[_Level], fd: int, path: str, wanted: Wanted, found: Scan, breathe: Callable[[], None]
) -> None:
    """List one directory; its descriptor belongs to the stack from here on, or is closed when it cannot be read."""
    prefix = path + "/" if path else ""
    try:
        names, links = _list(fd, prefix, wanted, found, breathe)
    except OSError as error:
        _note_unread(found, path, error)
        os.close(fd)
        return
    except BaseException:  # a breath that ends the walk
        os.close(fd)
        raise
    found.devices.add(os.fstat(fd).st_dev)
    found.directories += 1
    stack.append(_Level(fd, prefix, iter(names)))
    for name in links:
        _note_link(root_fd, prefix + name, wanted, found)


def _list(fd: int, prefix: str, wanted: Wanted, found: Scan, breathe: Callable[[], None]) -> tuple[list[str], list[str]]:
    files, suffixes = found.files, wanted.suffixes
    ignored = wanted.ignored.match if wanted.ignored is not None else None
    directories: list[str] = []
    links: list[str] = []
    count = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            count += 1
            if not count & _BREATH:
                breathe()
            name = entry.name
            if name[0] == ".":
                if name.startswith(_OWN_HIDDEN):
                    found.leftovers.add(prefix[:-1])
                continue
            if not name.endswith(suffixes) and not wanted.wants_name(name):
                if entry.is_dir(follow_symlinks=False):
                    directories.append(name)
                elif entry.is_symlink():
                    links.append(name)
                continue
            path = prefix + name
            if ignored is not None and ignored(path) is not None:
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except OSError as error:
                _note_unstated(found, path, error)
                continue
            mode = seen.st_mode
            if mode & _FILE_TYPE == _REGULAR:
                changed = seen.st_mtime_ns
                if not -MOST_INT64 <= changed <= MOST_INT64:
                    changed = Identity.of(seen).mtime_ns
                files[path] = (seen.st_dev, seen.st_ino, seen.st_size, changed, seen.st_ctime_ns)
            elif stat.S_ISLNK(mode):
                links.append(name)
            else:
                if stat.S_ISDIR(mode):
                    directories.append(name)
                _note_odd(found, path, seen)
    if count > HUGE_DIRECTORY:
        _note(found, prefix[:-1], None, "directory-huge", f"{count:,} entries in one directory: each look at it is slow")
    return _keep_entered(directories, prefix, wanted), links


def _keep_entered(names: list[str], prefix: str, wanted: Wanted) -> list[str]:
    if wanted.ignored is None:
        return names
    return [name for name in names if not wanted.ignores(f"{prefix}{name}/")]


def _open_below(root_fd: int, path: str) -> int:
    """Open the directory at a relative path part by part, following no link."""
    first, *parts = path.split("/") if path else (".",)
    fd = os.open(first, _OPEN_DIRECTORY, dir_fd=root_fd)
    for part in parts:
        try:
            below = os.open(part, _OPEN_DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _note(found: Scan, path: str, identity: Identity | None, code: str, message: str) -> None:
    if len(found.problems) < MAX_PROBLEMS:
        where = escape(path) if path else "the root"
        found.problems.append(Problem(path, identity, Finding(code, Severity.WARNING, f"{where}: {message}")))


def _note_unread(found: Scan, path: str, error: OSError) -> None:
    if path and error.errno in _VANISHED:
        return
    found.unread.add(path)
    _note(found, path, None, "directory-unreadable", f"{os.strerror(error.errno or 0)}: what is in it is not known")


def _note_unstated(found: Scan, path: str, error: OSError) -> None:
    """Keep a file in doubt that its directory lists and that cannot be asked; one that vanished since is just gone."""
    if error.errno not in _VANISHED:
        found.unread.add(path)
        found.problems.append(_unreadable(path, error))


def _note_link(root_fd: int, path: str, wanted: Wanted, found: Scan) -> None:
    link = read_link(root_fd, path, wanted)
    if isinstance(link, Link):
        found.aliases[path] = link.target
    elif link is not None and len(found.problems) < MAX_PROBLEMS:
        found.problems.append(Problem(path, None, link))


def _note_odd(found: Scan, path: str, seen: os.stat_result) -> None:
    if len(found.problems) < MAX_PROBLEMS:
        found.problems.append(_not_regular(path, seen))


def _unreadable(path: str, error: OSError) -> Problem:
    why = os.strerror(error.errno or 0)
    return Problem(path, None, Finding("file-unreadable", Severity.WARNING, f"{escape(path)}: {why}"))


def _not_regular(path: str, seen: os.stat_result) -> Problem:
    message = f"{escape(path)}: {describe_mode(seen.st_mode)}, not a file"
    return Problem(path, Identity.of(seen), Finding("not-regular", Severity.WARNING, message))


def describe_mode(mode: int) -> str:
    """Name what a mode of `stat` is: "a FIFO", "a directory", "a character device" …."""
    names = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    return names.get(stat.S_IFMT(mode), "something unknown")
