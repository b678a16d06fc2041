"""New files appear whole or not at all, never over another, and with the group and bits of what they belong to."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage import kernel
from ckptd.storage.atomic import write_new
from ckptd.storage.faults import NameTakenError
from tests.storage.forks import NOBODY, killed_at_every_call, run_as_nobody

DATA = b"whole " * 1000


@pytest.fixture(params=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write: where the file system has files without a name, and where it refuses them as NFS does."""
    if request.param == "hidden":
        refuse_nameless(monkeypatch, errno.EOPNOTSUPP)
    return request.param


pytestmark = pytest.mark.usefixtures("way")


def refuse_nameless(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    real = os.open

    def answer(path: str, flags: int, *args: int, **where: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *args, **where)

    monkeypatch.setattr(os, "open", answer)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "one byte", "6 kB"])
def test_a_new_file_has_all_its_bytes(tmp_path: Path, dir_fd: int, data: bytes, durable: bool) -> None:
    written = write_new(dir_fd, "a.json", data, durable=durable)
    assert (tmp_path / "a.json").read_bytes() == data
    assert written.identity == Identity.of((tmp_path / "a.json").stat())
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_exists_is_never_replaced(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a person's")
    with pytest.raises(NameTakenError, match=r"model\.onnx: a file of this name exists"):
        write_new(dir_fd, "model.onnx", DATA)
    assert (tmp_path / "model.onnx").read_bytes() == b"a person's"
    assert names(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo"])
def test_whatever_bears_the_name_stays(tmp_path: Path, dir_fd: int, kind: str) -> None:
    place = tmp_path / "a.json"
    match kind:
        case "directory":
            place.mkdir()
        case "link":
            (tmp_path / "target").write_bytes(b"kept")
            place.symlink_to("target")
        case "dangling link":
            place.symlink_to("target")
        case "fifo":
            os.mkfifo(place)
    before = place.lstat()
    with pytest.raises(NameTakenError):
        write_new(dir_fd, "a.json", DATA)
    assert os.path.samestat(place.lstat(), before)
    assert kind != "dangling link" or not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".", "..", "x" * 256])
def test_a_name_that_is_no_entry_is_refused(tmp_path: Path, dir_fd: int, name: str) -> None:
    with pytest.raises(StorageError):
        write_new(dir_fd, name, DATA)
    assert names(tmp_path) == []


def test_descriptors_of_a_deep_directory_are_enough(tmp_path: Path) -> None:
    """The directory may be renamed meanwhile: the descriptor counts."""
    (tmp_path / "old").mkdir()
    fd = os.open(tmp_path / "old", os.O_RDONLY)
    (tmp_path / "old").rename(tmp_path / "new")
    write_new(fd, "a", DATA)
    os.close(fd)
    assert (tmp_path / "new" / "a").read_bytes() == DATA


class TestWithoutFlags:
    """NFS and some FUSE know no RENAME_NOREPLACE, as they know no files without a name; a hard link is as safe."""

    @pytest.fixture(autouse=True, params=[errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
    def _unsupported(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse_nameless(monkeypatch, request.param)

        def refuse(dir_fd: int, source: str, target: str, flags: int) -> None:
            raise kernel.Unsupported(request.param, os.strerror(request.param))

        monkeypatch.setattr(kernel, "rename", refuse)

    def test_a_new_file_is_linked_into_place(self, tmp_path: Path, dir_fd: int) -> None:
        write_new(dir_fd, "a", DATA)
        assert (tmp_path / "a").read_bytes() == DATA
        assert (tmp_path / "a").stat().st_nlink == 1
        assert names(tmp_path) == ["a"]

    def test_a_file_that_exists_is_never_replaced(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a").write_bytes(b"kept")
        with pytest.raises(NameTakenError):
            write_new(dir_fd, "a", DATA)
        assert (tmp_path / "a").read_bytes() == b"kept"
        assert names(tmp_path) == ["a"]

    def test_without_links_nothing_is_written(self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        with pytest.raises(StorageError, match="neither rename without replacing nor make hard links"):
            write_new(dir_fd, "a", DATA)
        assert names(tmp_path) == []


class TestSharing:
    @pytest.mark.parametrize("mode", [0o640, 0o664, 0o644, 0o600, 0o666, 0o444, 0o755, 0o000])
    def test_bits_are_those_of_the_checkpoint_and_never_executable(self, tmp_path: Path, dir_fd: int, mode: int) -> None:
        checkpoint = tmp_path / "a.pth"
        checkpoint.write_bytes(b"")
        checkpoint.chmod(mode)
        previous = os.umask(0o077)
        try:
            write_new(dir_fd, "a.json", DATA, like=checkpoint.stat())
        finally:
            os.umask(previous)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == (mode & 0o666) | 0o600

    def test_without_an_example_the_umask_decides(self, tmp_path: Path, dir_fd: int) -> None:
        previous = os.umask(0o027)
        try:
            write_new(dir_fd, "a.json", DATA)
        finally:
            os.umask(previous)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640

    @pytest.mark.root
    def test_root_gives_the_owner_and_the_group_of_the_checkpoint(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a.pth").write_bytes(b"")
        os.chown(tmp_path / "a.pth", NOBODY, 4242)
        written = write_new(dir_fd, "a.json", DATA, like=(tmp_path / "a.pth").stat())
        now = (tmp_path / "a.json").stat()
        assert (now.st_uid, now.st_gid) == (NOBODY, 4242)
        assert written.findings == ()

    @pytest.mark.root
    @pytest.mark.parametrize(("mode", "expected"), [(0o660, 0o600), (0o640, 0o600), (0o664, 0o644), (0o666, 0o666)])
    def test_a_group_that_cannot_be_set_is_a_finding_and_gives_the_wrong_group_nothing(
        self, tmp_path: Path, mode: int, expected: int
    ) -> None:
        (tmp_path / "a.pth").write_bytes(b"")
        os.chmod(tmp_path / "a.pth", mode)
        os.chown(tmp_path / "a.pth", 0, 4242)
        tmp_path.chmod(0o777)
        fd = os.open(tmp_path, os.O_RDONLY)

        def inside() -> None:
            written = write_new(fd, "a.json", DATA, like=os.stat("a.pth", dir_fd=fd))
            assert [finding.code for finding in written.findings] == ["group-not-set"]
            assert "4242" in written.findings[0].message
            assert "chmod g+s" in written.findings[0].message

        run_as_nobody(inside)
        os.close(fd)
        assert (tmp_path / "a.json").read_bytes() == DATA
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == expected


class TestFaults:
    def test_a_file_size_limit_is_reported_and_nothing_is_left(self, tmp_path: Path, dir_fd: int) -> None:
        """The kernel's own short write: RLIMIT_FSIZE cuts the first call and refuses the second."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(StorageError, match="ulimit -f"):
                write_new(dir_fd, "a", DATA)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert names(tmp_path) == []

    @pytest.mark.root
    def test_a_full_disk_is_reported_and_works_again_when_there_is_space(self, tmp_path: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
        try:
            (tmp_path / "ballast").write_bytes(bytes(48 << 10))
            fd = os.open(tmp_path, os.O_RDONLY)
            with pytest.raises(StorageError, match=r"a\.json: No space left on device \(free some space") as raised:
                write_new(fd, "a.json", bytes(40 << 10))
            assert not raised.value.permanent
            assert names(tmp_path) == ["ballast"]
            (tmp_path / "ballast").unlink()
            write_new(fd, "a.json", bytes(40 << 10))
            os.close(fd)
            assert (tmp_path / "a.json").stat().st_size == 40 << 10
        finally:
            subprocess.run(["umount", "-l", tmp_path], check=True)

    @pytest.mark.root
    def test_a_read_only_file_system_is_reported(self, tmp_path: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], check=True)
        try:
            fd = os.open(tmp_path, os.O_RDONLY)
            with pytest.raises(StorageError, match="mounted read-only"):
                write_new(fd, "a.json", DATA)
            os.close(fd)
        finally:
            subprocess.run(["umount", "-l", tmp_path], check=True)

    @pytest.mark.root
    def test_a_directory_without_the_right_to_write_is_reported(self, tmp_path: Path, dir_fd: int) -> None:
        tmp_path.chmod(0o755)

        def inside() -> None:
            with pytest.raises(StorageError, match="right to write in this directory"):
                write_new(dir_fd, "a.json", DATA)

        run_as_nobody(inside)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("name", ["write", "fsync", "fchmod", "fchown"])
    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
    def test_any_call_may_fail_and_nothing_is_left(
        self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, name: str, code: int
    ) -> None:
        """A group that can't be set is no failure; all else is an error with its cause, and no file."""

        def fail(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        like = os.stat_result((stat.S_IFREG | 0o640, 0, 0, 1, os.getuid(), 4242, 0, 0, 0, 0))
        monkeypatch.setattr(os, name, fail)
        if name == "fchown":
            assert write_new(dir_fd, "a", DATA, like=like).findings[0].code == "group-not-set"
            return
        with pytest.raises(StorageError) as raised:
            write_new(dir_fd, "a", DATA, like=like)
        assert raised.value.why == os.strerror(code)
        assert raised.value.path == str(tmp_path / "a")
        assert names(tmp_path) == []

    def test_a_write_that_takes_no_byte_is_an_error_and_no_loop(
        self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "write", lambda *_: 0)
        with pytest.raises(StorageError):
            write_new(dir_fd, "a", DATA)
        assert names(tmp_path) == []

    def test_short_writes_are_continued(self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
        write_new(dir_fd, "a", DATA)
        assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("durable", [True, False])
def test_a_kill_at_any_call_leaves_the_whole_file_or_none(tmp_path: Path, dir_fd: int, durable: bool) -> None:
    like = os.stat_result((stat.S_IFREG | 0o640, 0, 0, 1, os.getuid(), 4242, 0, 0, 0, 0))
    seen = set()

    def clear() -> None:
        for name in names(tmp_path):
            (tmp_path / name).unlink()

    def check(number: int) -> None:
        seen.add((tmp_path / "a").exists())
        assert not (tmp_path / "a").exists() or (tmp_path / "a").read_bytes() == DATA
        assert all(name == "a" or name.startswith(".ckptd-") for name in names(tmp_path))

    kills = killed_at_every_call(lambda: write_new(dir_fd, "a", DATA, like=like, durable=durable), clear, check)
    assert kills >= 10
    assert seen == ({True, False} if durable else {False})


def test_a_durable_file_is_synced_before_it_has_its_name_and_the_directory_after(
    dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    real_sync, real_link, real_rename = os.fsync, os.link, kernel.rename
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("dir" if fd == dir_fd else "file") or real_sync(fd))
    monkeypatch.setattr(os, "link", lambda *args, **where: order.append("name") or real_link(*args, **where))
    monkeypatch.setattr(kernel, "rename", lambda *args: order.append("name") or real_rename(*args))
    write_new(dir_fd, "a", DATA)
    write_new(dir_fd, "b", DATA, durable=False)
    assert order == ["file", "name", "dir", "name"]


class TestWithoutName:
    @pytest.fixture(params=["nameless"])
    def way(self) -> None:
        """Only the one way."""

    @pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT])
    def test_where_there_are_none_a_hidden_file_does(
        self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """NFS says EOPNOTSUPP, old kernels EISDIR; the file is made all the same."""
        refuse_nameless(monkeypatch, code)
        write_new(dir_fd, "a", DATA)
        assert (tmp_path / "a").read_bytes() == DATA

    @pytest.mark.parametrize("code", [errno.ENOENT, errno.EPERM, errno.EXDEV])
    def test_where_it_can_get_no_name_a_hidden_file_does(
        self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """Without /proc, or where links are refused; the group and the bits are right in both ways."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "link", refuse)
        write_new(dir_fd, "a", DATA)
        assert (tmp_path / "a").read_bytes() == DATA
        assert names(tmp_path) == ["a"]

    def test_it_is_one_change_of_the_directory(self, dir_fd: int, tmp_path: Path) -> None:
        """Nothing hidden is ever seen there, which is what watchers and a kill are spared."""
        seen: list[list[str]] = []
        real = os.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: seen.append(names(tmp_path)) or real(fd, data))
            write_new(dir_fd, "a", DATA)
        assert seen == [[]]
