"""Give what ckptd writes the group and the permission bits of the file it belongs to, so that people can work with it."""

from __future__ import annotations

import os
import stat

from ckptd.model import Finding, Severity

#: A file that ckptd cannot read again would be unknown to it: its own user always keeps reading and writing.
_OWN_BITS = 0o600
_SHARED_BITS = 0o666


def take_sharing(fd: int, like: os.stat_result) -> tuple[Finding, ...]:
    """Set group and read and write bits of an open file to those of `like`; root gives it `like`'s owner too.

    A group that can't be set is never a failure: the file stays with the group that the directory gave, which may do no
    more than everybody may (the bits were meant for another group), and a finding says how to cure it.
    """
    mode = (like.st_mode & _SHARED_BITS) | _OWN_BITS
    now = os.fstat(fd)
    findings: tuple[Finding, ...] = ()
    owner = like.st_uid if os.geteuid() == 0 else -1
    if now.st_gid != like.st_gid or owner not in (-1, now.st_uid):
        try:
            os.fchown(fd, owner, like.st_gid)
        except OSError as error:
            mode &= ~0o060 | (mode & 0o006) << 3
            findings = (_group_not_set(now.st_gid, like.st_gid, error),)
    if stat.S_IMODE(now.st_mode) != mode:
        os.fchmod(fd, mode)
    return findings


def _group_not_set(got: int, wanted: int, error: OSError) -> Finding:
    return Finding(
        "group-not-set",
        Severity.INFO,
        f"the file has group {got} instead of the checkpoint's group {wanted} ({os.strerror(error.errno or 0)}): "
        f"add the user that runs ckptd to group {wanted}, or give the directory that group and the setgid bit (chmod g+s)",
    )


def check_directory(dir_fd: int) -> tuple[Finding, ...]:
    """Say what keeps several users of one directory from working with what ckptd leaves there."""
    mode = os.fstat(dir_fd).st_mode
    if mode & stat.S_ISVTX and mode & 0o022:
        return (
            Finding(
                "directory-sticky",
                Severity.INFO,
                "the directory is shared and sticky: only the owner of a file can replace it, so sidecars that somebody "
                "saved anew are never brought up to date (chmod -t, where the people who share it trust each other)",
            ),
        )
    return ()
