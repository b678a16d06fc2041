"""A member is what the caller knew, or it is no member."""

from __future__ import annotations

import errno
import os

import pytest

from ckptd.archive.interface import MemberChangedError
from ckptd.archive.members import OpenMember
from ckptd.errors import StorageError
from tests.archive.making import lay_out, noise


@pytest.fixture
def member(tmp_path):
    (one,) = lay_out(tmp_path / "models", {"net.pth": noise(100_000)})
    return one


def read_rest(source):
    """Read what is left as a writer does, and check it; its bytes."""
    data, room = b"", memoryview(bytearray(30_000))
    while source.left_bytes:
        data += room[: source.read_into(room)]
    source.check()
    return data


def read(member):
    """Open and read a member."""
    with OpenMember(member) as source:
        return read_rest(source)


def test_it_is_read_whole(member):
    """However small the pieces are."""
    assert read(member) == noise(100_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.write_bytes(noise(100_001)), "its size changed"),
        (lambda path: path.write_bytes(noise(99_999)), "its size changed"),
        (lambda path: path.write_bytes(noise(100_000, 1)), "another one"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "no plain file"),
    ],
    ids=["longer", "shorter", "other bytes", "gone", "directory"],
)
def test_what_it_became_is_told(member, tmp_path, change, why):
    """In one phrase, with its name."""
    change(tmp_path / "models" / "net.pth")
    with pytest.raises(MemberChangedError, match=why) as caught:
        read(member)
    assert caught.value.member == "net.pth"


@pytest.mark.parametrize(("size", "why"), [(40_000, "shorter while it was read"), (100_001, "changed while it was read")])
def test_what_it_becomes_meanwhile_is_told(member, tmp_path, size, why):
    """After the first bytes were read."""
    with OpenMember(member) as source:
        source.read_into(memoryview(bytearray(50_000)))
        os.truncate(tmp_path / "models" / "net.pth", size)
        with pytest.raises(MemberChangedError, match=why):
            read_rest(source)


def test_a_disk_that_cannot_read_it(member, monkeypatch):
    """One bad file does not keep the others from their archive."""

    def refuse(fd, buffers):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", refuse)
    with pytest.raises(MemberChangedError, match="Input/output error"):
        read(member)


def test_a_root_that_cannot_open_it(member):
    """What the caller's own function has to say is passed on."""

    def refuse():
        raise StorageError("open a file", path="net.pth", why="it is a link")

    with pytest.raises(MemberChangedError, match="it is a link"):
        read(member.__class__(member.name, member.what, refuse, member.size_bytes, member.sha256, member.mtime_ns))


def test_it_is_closed(member):
    """After a refusal as after a success."""
    before = len(os.listdir("/proc/self/fd"))
    read(member)
    with pytest.raises(MemberChangedError):
        read(member.__class__(member.name, member.what, member.open, 1, member.sha256, member.mtime_ns))
    assert len(os.listdir("/proc/self/fd")) == before
