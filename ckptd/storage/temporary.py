"""The files that ckptd writes before it gives them their name: without any name where that can be, else hidden."""

from __future__ import annotations

import errno
import os
import re
import secrets

from ckptd.model import Finding, Identity
from ckptd.storage import kernel
from ckptd.storage.faults import translated
from ckptd.storage.sharing import take_sharing

#: Half-written or whole, always ours.  Hidden, so that no scan takes it for a file of somebody.
TEMPORARY_NAME = re.compile(r"\.ckptd-[0-9a-f]{16}\.tmp")
#: Holds what we are about to put in place, whole, or what came out of it; the name says which is which: size and
#: fingerprint of ours, then the fingerprint of what we expect to come out.  Anything else in it is a person's save.
SWAP_NAME = re.compile(r"\.ckptd-[0-9a-f]{16}-(?P<size>[0-9a-f]{1,16})-(?P<ours>[0-9a-f]{32})-(?P<expected>[0-9a-f]{32})\.swap")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_BLOCK_BYTES = 1 << 20
#: What open(O_TMPFILE) and link(/proc/self/fd/N) answer where a file can't be made without a name or get one later: the
#: file system or an old kernel does not know it, or /proc is not mounted.  The hidden way then says what is really wrong.
#: Source: open(2), link(2).
_NO_NAMELESS = frozenset(
    {*(errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT), *(errno.EPERM, errno.EXDEV, errno.ENOSYS)}
)
#: What link() answers where there are no hard links.  Source: link(2); FUSE passes ENOSYS on.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


def new_temporary_name() -> str:
    """Invent a name that TEMPORARY_NAME knows."""
    return f".ckptd-{secrets.token_hex(8)}.tmp"


def swap_name_for(temporary: str, size_bytes: int, ours: str, expected: str) -> str:
    """Make the name that SWAP_NAME knows out of a temporary one and two fingerprints in hex."""
    return f"{temporary.removesuffix('.tmp')}-{size_bytes:x}-{ours[:32]}-{expected[:32]}.swap"


def write_nameless(
    dir_fd: int, name: str, data: bytes, like: os.stat_result | None, *, durable: bool
) -> tuple[Identity, tuple[Finding, ...]]:
    """Write `data` to a file without a name and give it its name when it is whole, never in place of another.

    A kill leaves nothing to be swept, and the directory changes once: a watcher that asks for no unlinked files hears of it
    once, not four times.

    Raises:
        FileExistsError: the name is taken.
        kernel.Unsupported: it can't be done here; nothing was changed.
        OSError: the disk said no; nothing was changed.
    """
    try:
        fd = os.open(".", _NAMELESS, 0o600 if like else 0o666, dir_fd=dir_fd)
    except OSError as error:
        raise _or_unsupported(error) from error
    try:
        findings = _fill(fd, data, like, durable=durable)
        try:
            # A link to what a descriptor stands for: by way of /proc every user may make one, AT_EMPTY_PATH wants a capability.
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=dir_fd, follow_symlinks=True)
        except OSError as error:
            raise _or_unsupported(error) from error
        return Identity.of(os.fstat(fd)), findings
    finally:
        os.close(fd)


def _or_unsupported(error: OSError) -> OSError:
    return kernel.Unsupported(error.errno, error.strerror) if error.errno in _NO_NAMELESS else error


def write_temporary(
    dir_fd: int, name: str, temporary: str, data: bytes, like: os.stat_result | None, *, durable: bool
) -> tuple[Identity, tuple[Finding, ...]]:
    """Write `data` under the hidden name; nothing of it is left when that fails.

    Raises:
        StorageError: the disk said no; the message speaks of `name`.
    """
    with translated("write a file", dir_fd, name):
        fd = os.open(temporary, _CREATE, 0o600 if like else 0o666, dir_fd=dir_fd)
        try:
            findings = _fill(fd, data, like, durable=durable)
            return Identity.of(os.fstat(fd)), findings
        except BaseException:
            discard(dir_fd, temporary)
            raise
        finally:
            os.close(fd)


def _fill(fd: int, data: bytes, like: os.stat_result | None, *, durable: bool) -> tuple[Finding, ...]:
    _write_all(fd, data)
    findings = take_sharing(fd, like) if like else ()
    if durable:
        os.fsync(fd)
    return findings


def _write_all(fd: int, data: bytes) -> None:
    # A full disk, a quota or a file size limit first shows as a short write; the next call then says why.
    left = memoryview(data)
    while left:
        count = os.write(fd, left[:_BLOCK_BYTES])
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[count:]


def rename_new(dir_fd: int, hidden: str, name: str) -> None:
    """Give a hidden file its name, never in place of another.

    Raises:
        FileExistsError: the name is taken.
        OSError: EOPNOTSUPP where the file system offers no way to do it safely.
    """
    try:
        kernel.rename(dir_fd, hidden, name, kernel.RENAME_NOREPLACE)
    except kernel.Unsupported:
        _link_new(dir_fd, hidden, name)


def _link_new(dir_fd: int, hidden: str, name: str) -> None:
    # NFS and some FUSE know no flags.  A link is as safe: it fails when the name exists.
    try:
        os.link(hidden, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name) from error
        raise
    discard(dir_fd, hidden)


def discard(dir_fd: int, hidden: str) -> None:
    """Remove a hidden file of ours; one that can't be removed now is found by the next sweep."""
    try:
        os.unlink(hidden, dir_fd=dir_fd)
    except OSError:
        return  # the error that led here tells more
