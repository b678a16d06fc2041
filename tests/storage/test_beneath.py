"""No path leads out of a root: the kernel's way and ours are held to the same table."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.storage import beneath, kernel
from ckptd.storage.beneath import RootHandle, entry_name, open_beneath, open_parent_beneath
from tests.storage.swapping import swapped

#: path → None when it opens, else the errno it has to get.
TABLE = {
    "file": None,
    "dir/file": None,
    "dir/deep/file": None,
    "dir": None,
    "name with \udcff byte": None,
    "..file": None,
    "missing": errno.ENOENT,
    "dir/missing": errno.ENOENT,
    "missing/file": errno.ENOENT,
    "file/file": errno.ENOTDIR,
    "..": errno.EXDEV,
    "../secret": errno.EXDEV,
    "dir/../file": errno.EXDEV,
    "dir/../../secret": errno.EXDEV,
    "/etc/passwd": errno.EXDEV,
    "/": errno.EXDEV,
    "": errno.EINVAL,
    ".": errno.EINVAL,
    "./file": errno.EINVAL,
    "dir/.": errno.EINVAL,
    "dir//file": errno.EINVAL,
    "dir/": errno.EINVAL,
    "fi\0le": errno.EINVAL,
    "half \ud800 a pair": errno.EINVAL,
    "link-to-file": errno.ELOOP,
    "link-to-dir": errno.ELOOP,
    "link-to-dir/file": errno.ELOOP,
    "link-out/secret": errno.ELOOP,
    "link-out": errno.ELOOP,
    "link-to-secret": errno.ELOOP,
    "dangling": errno.ELOOP,
    "x" * 300: errno.ENAMETOOLONG,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "dir" / "deep").mkdir(parents=True)
    for name in ("file", "dir/file", "dir/deep/file", "..file", "name with \udcff byte"):
        (root / name).write_text("inside")
    (tmp_path / "secret").write_text("outside")
    for name, target in {
        "link-to-file": "file",
        "link-to-dir": "dir",
        "link-out": "..",
        "link-to-secret": "../secret",
        "dangling": "nowhere",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "walk":
        monkeypatch.setattr(kernel, "_has_openat2", lambda: False)
    else:
        assert kernel._has_openat2(), "this kernel lacks openat2 (5.6)"
    return request.param


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH], ids=["read", "path"])
@pytest.mark.parametrize("path", TABLE, ids=repr)
def test_a_path_opens_or_gets_its_errno(root: Path, way: str, path: str, flags: int) -> None:
    with RootHandle(root) as handle:
        code = None
        try:
            os.close(open_beneath(handle.fd, path, flags))
        except OSError as error:
            code = error.errno
    assert code == TABLE[path]


def test_descriptors_close_on_exec(root: Path, way: str) -> None:
    with RootHandle(root) as handle:
        fd = open_beneath(handle.fd, "dir/file", os.O_RDONLY)
        parent, _ = open_parent_beneath(handle.fd, "dir/file")
        for each in (fd, parent, handle.fd):
            assert fcntl.fcntl(each, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(fd)
        os.close(parent)


def test_a_new_file_takes_its_mode(root: Path, way: str) -> None:
    with RootHandle(root) as handle:
        os.close(open_beneath(handle.fd, "dir/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
    assert (root / "dir" / "new").stat().st_mode & 0o777 == 0o640


def test_nothing_is_made_through_a_link(root: Path, way: str) -> None:
    with RootHandle(root) as handle, pytest.raises(OSError):
        open_beneath(handle.fd, "link-out/new", os.O_WRONLY | os.O_CREAT)
    assert not (root.parent / "new").exists()


@pytest.mark.parametrize(("path", "name"), [("file", "file"), ("dir/deep/file", "file"), ("dir/not-yet", "not-yet")])
def test_the_parent_is_opened_with_the_last_name(root: Path, way: str, path: str, name: str) -> None:
    with RootHandle(root) as handle:
        fd, last = open_parent_beneath(handle.fd, path)
        assert last == name
        assert os.path.samestat(os.fstat(fd), (root / path).parent.stat())
        os.fsync(fd)
        os.close(fd)


@pytest.mark.parametrize("path", [p for p, code in TABLE.items() if code in (errno.EXDEV, errno.EINVAL)], ids=repr)
def test_the_parent_of_a_path_that_leads_out_is_refused(root: Path, way: str, path: str) -> None:
    with RootHandle(root) as handle, pytest.raises(OSError) as raised:
        open_parent_beneath(handle.fd, path)
    assert raised.value.errno == TABLE[path]


def test_a_parent_swapped_for_a_link_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour swaps the directory at the worst moment of the walk: after its parent was opened."""
    monkeypatch.setattr(kernel, "_has_openat2", lambda: False)
    real = beneath._open_part

    def swap_then_open(dir_fd: int, name: bytes, flags: int, mode: int) -> int:
        if name == b"deep":
            (root / "dir" / "deep").rename(root / "dir" / "aside")
            (root / "dir" / "deep").symlink_to("../..")
        return real(dir_fd, name, flags, mode)

    monkeypatch.setattr(beneath, "_open_part", swap_then_open)
    with RootHandle(root) as handle, pytest.raises(OSError) as raised:
        open_beneath(handle.fd, "dir/deep/secret", os.O_RDONLY)
    assert raised.value.errno == errno.ELOOP


def test_a_neighbour_who_swaps_all_the_time_gains_nothing(root: Path, way: str) -> None:
    """While a directory is exchanged for a link to the outside, whatever opens is the file inside."""
    (root / "dir" / "secret").write_text("inside")
    (root / "trap").symlink_to("..")
    opened = 0
    with RootHandle(root) as handle, swapped(handle.fd, "dir", "trap"):
        for _ in range(3000):
            try:
                fd = open_beneath(handle.fd, "dir/secret", os.O_RDONLY)
            except OSError:
                continue
            opened += 1
            assert os.read(fd, 100) == b"inside"
            os.close(fd)
    assert opened


def test_a_root_that_is_a_link_itself_is_held(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    with RootHandle(tmp_path / "alias") as handle:
        os.close(open_beneath(handle.fd, "dir/file", os.O_RDONLY))
    handle.close()  # a second time


def test_a_root_that_is_renamed_stays_the_same_one(root: Path, tmp_path: Path) -> None:
    with RootHandle(root) as handle:
        root.rename(tmp_path / "elsewhere")
        root.mkdir()
        os.close(open_beneath(handle.fd, "file", os.O_RDONLY))


def test_a_kernel_that_answers_eperm_gets_the_walk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old container runtimes answer EPERM for system calls that they do not know."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "seccomp")

    monkeypatch.setattr(kernel, "_openat2", refuse)
    kernel._has_openat2.cache_clear()
    try:
        with RootHandle(root) as handle:
            os.close(open_beneath(handle.fd, "dir/file", os.O_RDONLY))
    finally:
        monkeypatch.undo()
        kernel._has_openat2.cache_clear()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "x" * 256, "é" * 128, "\ud800"])
def test_what_is_no_entry_of_a_directory_never_becomes_one(name: str) -> None:
    with pytest.raises(OSError):
        entry_name(name)


@pytest.mark.parametrize("name", ["a", "...", "-rf", "\x1b[2J", "x" * 255, "é" * 127, "\udcff"])
def test_any_other_name_passes_as_it_is(name: str) -> None:
    assert entry_name(name) == name


@given(st.text(st.sampled_from("a./\0é"), max_size=12))
def test_a_split_path_is_made_of_names_only(path: str) -> None:
    """Law: whatever passes is made of names that pass the gate, and joins to the same path again."""
    try:
        parts = beneath.split_relative(path)
    except OSError:
        return
    assert "/".join(entry_name(os.fsdecode(part)) for part in parts) == path
