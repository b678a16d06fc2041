"""Which file system a directory lies on, and what is mounted below it.

A network file system tells nobody about the writes of other hosts, gives no leases that mean anything, and must not hold
SQLite.  The mount table has the exact name ("fuse.sshfs"); the magic number of statfs serves where there is no /proc.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

#: Other hosts, or the host of this virtual machine, write here without an event for us.
_NETWORK = frozenset(
    "nfs nfs4 cifs smb2 smb3 smbfs 9p virtiofs ceph lustre beegfs beegfs_nodev gpfs panfs pvfs2 orangefs afs coda ncpfs gfs2 "
    "ocfs2 wekafs davfs glusterfs vboxsf vmhgfs prl_fs drvfs fuse".split()
)
#: FUSE that sits on a local disk: ntfs-3g and friends, and the file-by-file layers of containers.
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.bindfs"})

#: Source: include/uapi/linux/magic.h; lustre, beegfs, gpfs, ocfs2 and gfs2 from coreutils' src/stat.c.
_MAGIC = {
    0x6969: "nfs",
    0x517B: "smbfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x0BD00BD0: "lustre",
    0x19830326: "beegfs",
    0x47504653: "gpfs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x73757245: "coda",
    0x564C: "ncpfs",
    0xAAD7AAEA: "panfs",
    0x786F4256: "vboxsf",
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
    0xF2F52010: "f2fs",
}

_OCTAL = re.compile(rb"\\([0-7]{3})")


class FileSystem(NamedTuple):
    """A kind of file system: its name in the mount table, and whether others write to it unseen."""

    name: str
    is_network: bool


class Mount(NamedTuple):
    """One line of the mount table; `path` as it was when we were started in our root directory."""

    id: int
    path: str
    file_system: FileSystem


def find_filesystem(where: int | str | os.PathLike[str]) -> FileSystem:
    """Say what `where`, a descriptor or a path, lies on; ("unknown", False) when nobody knows.

    Raises:
        OSError: the path cannot be opened.
    """
    if isinstance(where, int):
        return _find_by_mount(where) or _find_by_magic(where)
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _find_by_mount(fd) or _find_by_magic(fd)
    finally:
        os.close(fd)


def find_mounts_below(root: str | os.PathLike[str]) -> dict[str, FileSystem]:
    """Give what is mounted below a directory: path relative to it → file system; empty where there is no /proc."""
    prefix = os.path.realpath(root).rstrip("/") + "/"
    return {mount.path[len(prefix) :]: mount.file_system for mount in _read_mounts() if mount.path.startswith(prefix)}


def classify(name: str) -> FileSystem:
    """Judge a name of the mount table.  An unknown FUSE is taken for a network: sshfs, rclone, s3fs, goofys, gcsfuse."""
    is_network = name in _NETWORK or (name.startswith("fuse.") and name not in _LOCAL_FUSE)
    return FileSystem(name, is_network)


def _find_by_mount(fd: int) -> FileSystem | None:
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
    except OSError:
        return None
    found = re.search(rb"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    if found is None:
        return None
    return next((mount.file_system for mount in _read_mounts() if mount.id == int(found[1])), None)


def _read_mounts() -> list[Mount]:
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return []
    return [_parse_mount(line) for line in os.fsdecode(table).split("\n") if " - " in line]


def _parse_mount(line: str) -> Mount:
    # Source: proc_pid_mountinfo(5): id parent major:minor root mount-point options [fields…] - type source super-options
    left, _, right = line.partition(" - ")
    fields = left.split(" ")
    path = os.fsdecode(_OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), os.fsencode(fields[4])))
    return Mount(int(fields[0]), path, classify(right.split(" ", 1)[0]))


def _find_by_magic(fd: int) -> FileSystem:
    # Source: statfs(2): f_type comes first; 64 bits on x86_64 and aarch64, 32 bits on s390x.  No magic needs more than 32.
    buffer = ctypes.create_string_buffer(512)
    if _libc().fstatfs(fd, buffer) != 0:
        return FileSystem("unknown", is_network=False)
    magic = int.from_bytes(buffer.raw[:4], sys.byteorder)
    return classify(_MAGIC.get(magic, "unknown"))


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
