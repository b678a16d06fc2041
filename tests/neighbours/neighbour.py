"""Another local user, who means harm: what he does he does as uid 65534, in a process of his own."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
#: Stands before whatever he does: everything that is imported is imported before the rights are given up.
_PRELUDE = f"""
import ctypes, errno, itertools, os, shutil, socket, stat, sys, time
os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
os.umask(0)
libc = ctypes.CDLL(None, use_errno=True)

def exchange(one, other):
    "Exchange two names in one step."
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")

"""


def do(code: str, *args: object) -> str:
    """Let him do something, and give what he says about it."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PRELUDE + code, *map(str, args)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def doing(code: str, *args: object) -> Iterator[subprocess.Popen[bytes]]:
    """Let him do something again and again for as long as the block lasts; he must not have ended before it does."""
    process = subprocess.Popen([sys.executable, "-I", "-c", _PRELUDE + code, *map(str, args)], stderr=subprocess.PIPE)
    try:
        yield process
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stderr:
            process.stderr.close()


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it happens: a root that he may write to, and beside it what he must not reach.

    Attributes:
        root: group- or world-writable.
        outside: of root alone: files and a directory that nothing may change in.
        before: what it looked like.
    """

    root: Path
    outside: Path
    before: dict[str, tuple[object, ...]]

    @property
    def secret(self) -> Path:
        """A file that he may not read, with the ending of a checkpoint."""
        return self.outside / "secret.pth"

    def assert_untouched(self) -> None:
        """See that what lies outside has its bytes, mode, owner and time, and that nothing new is there."""
        assert look_at(self.outside) == self.before

    def assert_unread(self) -> None:
        """See that neither the bytes nor the digest of the secret came into anything below the root that he may read."""
        data = self.secret.read_bytes()
        marks = (data[:64], hashlib.sha256(data).hexdigest().encode())
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_ino != self.secret.stat().st_ino:
                content = path.read_bytes()
                assert not any(mark in content for mark in marks), path


def look_at(top: Path) -> dict[str, tuple[object, ...]]:
    """Give what can be seen of a tree: path → type, mode, owner, group, bytes; of directories the names too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([top, *top.rglob("*")]):
        seen = path.lstat()
        content: object = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()
        found[str(path.relative_to(top.parent))] = (oct(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns, content)
    return found


@contextmanager
def ground(mode: int) -> Iterator[Ground]:
    """Make a place that he can reach; what pytest gives is closed to others."""
    top = Path(tempfile.mkdtemp(prefix="ckptd-neighbours-"))
    top.chmod(0o755)
    try:
        root, outside = top / "models", top / "outside"
        for directory in (root, outside, outside / "inner"):
            directory.mkdir()
        (outside / "secret.pth").write_bytes(b"not his business " * 10)
        (outside / "victim.json").write_text('{"mine": 1}')
        (outside / "empty.json").write_text("")
        (outside / "victim.safetensors").write_bytes(b"somebody serves this")
        (outside / "inner" / "n0.pth").write_bytes(b"another secret " * 10)
        for path in outside.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        outside.chmod(0o711)
        root.chmod(mode)
        yield Ground(root, outside, look_at(outside))
    finally:
        shutil.rmtree(top)
