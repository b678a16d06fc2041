"""A checkpoint goes into the trash whole, with what travels along and everything that it takes to undo it; or it stays."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.model import Identity, Openness
from ckptd.storage import kernel
from ckptd.storage.trash import Companion, Refusal, RefusedError, list_entries, put, restore
from tests.storage.trash.making import DATA, NOW, removal, trash_of, trashed, tree, write


def refused(root_fd: int, order, **how) -> Refusal:
    with pytest.raises(RefusedError) as raised:
        put(root_fd, order, **how)
    assert raised.value.why
    return raised.value.refusal


def test_it_moves_without_a_copy_and_keeps_its_times(root: Path, root_fd: int) -> None:
    before = write(root, "run/a.pth").stat()
    done = put(root_fd, removal(root, "run/a.pth"))
    moved = (trash_of(root) / done.entry / "a.pth").stat()
    assert tree(root) == {}
    assert (moved.st_ino, moved.st_mtime_ns, moved.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
    assert done.frees_bytes == before.st_blocks * 512


def test_the_manifest_says_everything(root: Path, root_fd: int) -> None:
    """From where, when, by which run, why, digest, owner, mode, times, and what travelled along."""
    file = write(root, "a.pth")
    file.chmod(0o640)
    write(root, "a_metadata.json", b"{}")
    order = removal(root, "a.pth", ["a_metadata.json"])
    done = put(root_fd, order)
    manifest = json.loads((trash_of(root) / done.entry / "manifest.json").read_text())
    assert (manifest["job"], manifest["run"], manifest["group"]) == ("retention", "run-17", "BiLSTM · ECG")
    assert (manifest["removed_at"], manifest["reasons"]) == (NOW, list(order.reasons))
    checkpoint, (sidecar,) = manifest["checkpoint"], manifest["companions"]
    assert (checkpoint["path"], checkpoint["sha256"], checkpoint["mode"]) == ("a.pth", order.sha256, "0640")
    assert (checkpoint["uid"], checkpoint["mtime_ns"]) == (os.getuid(), order.identity.mtime_ns)
    assert (sidecar["path"], sidecar["what"]) == ("a_metadata.json", "sidecar")
    (entry,) = list_entries(root_fd)
    assert entry.manifest is not None
    assert entry.manifest.checkpoint.identity[:4] == order.identity[:4]
    assert entry.problem == ""


def test_entries_sort_by_the_time_of_the_removal(root: Path, root_fd: int) -> None:
    for index, at in enumerate((NOW + 2, NOW, NOW + 1, NOW + 1.5)):
        write(root, f"{index}.pth", b"%d" % index)
        put(root_fd, removal(root, f"{index}.pth", at=at))
    assert [entry.manifest.checkpoint.path for entry in list_entries(root_fd)] == ["1.pth", "2.pth", "3.pth", "0.pth"]


def test_companions_travel_along_and_those_that_changed_stay(root: Path, root_fd: int) -> None:
    write(root, "a.pth")
    for name in ("a_metadata.json", "exports/a.onnx", "a.fp16", "a.gone"):
        write(root, name, name.encode())
    order = removal(root, "a.pth", ["a_metadata.json", "exports/a.onnx", "a.fp16", "a.gone"])
    write(root, "a.fp16", b"edited since")
    (root / "a.gone").unlink()
    done = put(root_fd, order)
    assert done.moved == ("a_metadata.json", "exports/a.onnx")
    assert [left.path for left in done.left] == ["a.fp16", "a.gone"]
    assert all(left.why for left in done.left)
    assert tree(root) == {"a.fp16": b"edited since"}
    assert sorted(name.partition("/")[2] for name in trashed(root)) == ["a.onnx", "a.pth", "a_metadata.json"]


def test_two_files_of_one_name_and_names_that_are_ours_get_others(root: Path, root_fd: int) -> None:
    """A checkpoint may be called manifest.json, and its companions lie in several directories."""
    names = ["manifest.json", "x/manifest.json", "y/a", "z/a", "intent.json", ".ckptd-0123456789abcdef.tmp"]
    for name in names:
        write(root, name, name.encode())
    before = tree(root)
    done = put(root_fd, removal(root, names[0], names[1:]))
    assert (done.left, tree(root)) == ((), {})
    restore(root_fd, done.entry)
    assert tree(root) == before


NAMES = ["plain.pth", "with\nnewline\r.pth", "not utf-8 \udcff.pth", "x" * 251 + ".pth", "ünï \u202e.pth", "-rf", " ", "a.pth~"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_goes_and_comes_back(root: Path, root_fd: int, name: str) -> None:
    write(root, f"dir/{name}")
    done = put(root_fd, removal(root, f"dir/{name}"))
    assert os.listdir(root / "dir") == []
    assert list_entries(root_fd)[0].manifest.checkpoint.path == f"dir/{name}"
    restore(root_fd, done.entry)
    assert os.listdir(root / "dir") == [name]
    assert list_entries(root_fd) == []


class TestStays:
    """Whatever is not the file that was decided on stays where it is, and the trash is as it was."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, root: Path):
        yield
        assert not trash_of(root).exists() or os.listdir(trash_of(root)) == []

    def test_rewritten(self, root: Path, root_fd: int) -> None:
        order = removal(root, write(root, "a.pth").name)
        write(root, "a.pth", DATA + b"more")
        assert refused(root_fd, order) is Refusal.CHANGED
        assert tree(root) == {"a.pth": DATA + b"more"}

    def test_replaced_by_equal_bytes(self, root: Path, root_fd: int) -> None:
        """Another inode is another file: somebody saved it again since the plan was made."""
        order = removal(root, write(root, "a.pth").name)
        write(root, "b.pth").rename(root / "a.pth")
        assert refused(root_fd, order) is Refusal.CHANGED

    def test_rewritten_with_its_size_and_mtime_set_back(self, root: Path, root_fd: int) -> None:
        """The ctime can't be set back: then the bytes are read."""
        order = removal(root, write(root, "a.pth").name)
        time.sleep(0.02)
        write(root, "a.pth", DATA.upper())
        assert refused(root_fd, order) is Refusal.CHANGED
        assert tree(root) == {"a.pth": DATA.upper()}

    @pytest.mark.parametrize("kind", ["link", "directory", "fifo", "link to a directory on the way"])
    def test_no_file(self, root: Path, root_fd: int, kind: str) -> None:
        write(root, "dir/a.pth")
        order = removal(root, "dir/a.pth")
        match kind:
            case "link":
                (root / "dir/a.pth").rename(root / "b.pth")
                (root / "dir/a.pth").symlink_to(root / "b.pth")
            case "directory":
                (root / "dir/a.pth").unlink()
                (root / "dir/a.pth").mkdir()
            case "fifo":
                (root / "dir/a.pth").unlink()
                os.mkfifo(root / "dir/a.pth")
            case _:
                (root / "dir").rename(root / "other")
                (root / "dir").symlink_to(root / "other")
        before = tree(root)
        assert refused(root_fd, order) is Refusal.NOT_A_FILE
        assert tree(root) == before

    def test_gone(self, root: Path, root_fd: int) -> None:
        order = removal(root, write(root, "dir/a.pth").relative_to(root).as_posix())
        (root / "dir/a.pth").unlink()
        assert refused(root_fd, order) is Refusal.GONE
        (root / "dir").rmdir()
        assert refused(root_fd, order) is Refusal.GONE

    @pytest.mark.parametrize("path", ["../a.pth", "/etc/hostname", "dir/../../a.pth", "", ".", "a\0b", "dir//a.pth"])
    def test_a_path_that_leads_out(self, root: Path, root_fd: int, path: str) -> None:
        write(root.parent, "a.pth")
        order = removal(root.parent, "a.pth")
        order = type(order)(path, order.identity, order.sha256, NOW)
        assert refused(root_fd, order) is Refusal.NOT_A_FILE
        assert (root.parent / "a.pth").exists()

    @pytest.mark.parametrize("path", [".ckptd/index.db", ".ckptd/trash/x"])
    def test_our_own_state(self, root: Path, root_fd: int, path: str) -> None:
        (root / ".ckptd").mkdir(mode=0o700)
        (root / ".ckptd/index.db").write_bytes(DATA)
        order = removal(root, ".ckptd/index.db")
        order = type(order)(path, order.identity, order.sha256, NOW)
        assert refused(root_fd, order) is Refusal.OWN_STATE

    @pytest.mark.parametrize("mode", ["rb", "ab"])
    def test_open_somewhere(self, root: Path, root_fd: int, mode: str) -> None:
        """A reader counts as much as a writer: it would go on with a file that is about to be purged."""
        order = removal(root, write(root, "a.pth").name)
        with (root / "a.pth").open(mode):
            assert refused(root_fd, order) is Refusal.OPEN
            assert refused(root_fd, order, accept=(Openness.CLOSED, Openness.UNKNOWN)) is Refusal.OPEN
        assert tree(root) == {"a.pth": DATA}

    def test_touched(self, root: Path, root_fd: int) -> None:
        """The same bytes, but the plan was made for an older file."""
        order = removal(root, write(root, "a.pth").name)
        (root / "a.pth").touch()
        assert refused(root_fd, order) is Refusal.CHANGED

    def test_the_name_stays_while_the_disk_says_no(self, root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused at the rename itself, it is told as what it is, and the entry is gone."""

        def refuse(*_: object) -> None:
            raise OSError(5, os.strerror(5))

        order = removal(root, write(root, "a.pth").name)
        monkeypatch.setattr(kernel, "rename_between", refuse)
        with pytest.raises(StorageError, match=r"Input/output error .*kernel's log"):
            put(root_fd, order)
        assert tree(root) == {"a.pth": DATA}


def test_a_chmod_since_is_no_change(root: Path, root_fd: int) -> None:
    """The ctime differs, so the bytes are read, and they are the same; a device number may differ after a boot."""
    file = write(root, "a.pth")
    order = removal(root, "a.pth")
    time.sleep(0.02)
    file.chmod(0o600)
    os.link(file, root / "b.pth")
    assert Identity.of(file.stat()).ctime_ns != order.identity.ctime_ns
    order = type(order)(order.path, order.identity._replace(dev=1), order.sha256, NOW)
    done = put(root_fd, order)
    assert (done.links, done.frees_bytes) == (2, 0), "the other name keeps the blocks"
    assert tree(root) == {"b.pth": DATA}


def test_a_companion_that_is_open_stays_and_the_checkpoint_goes(root: Path, root_fd: int) -> None:
    """Somebody serves model.onnx."""
    write(root, "a.pth")
    write(root, "a.onnx", b"served")
    order = removal(root, "a.pth", ["a.onnx"])
    with (root / "a.onnx").open("rb"):
        done = put(root_fd, order)
    assert [left.path for left in done.left] == ["a.onnx"]
    assert tree(root) == {"a.onnx": b"served"}


def test_a_companion_elsewhere_or_unknown_is_never_taken(root: Path, root_fd: int) -> None:
    write(root.parent, "outside.json", b"theirs")
    write(root, "a.pth")
    order = removal(root, "a.pth")
    identity = Identity.of((root.parent / "outside.json").stat())
    order = type(order)(order.path, order.identity, order.sha256, NOW, companions=(Companion("../outside.json", identity),))
    assert [left.path for left in put(root_fd, order).left] == ["../outside.json"]
    assert (root.parent / "outside.json").read_bytes() == b"theirs"


def test_one_file_by_two_names_goes_by_one(root: Path, root_fd: int) -> None:
    """As a second descriptor of ours, the other name would look as if somebody had it open."""
    file = write(root, "a.pth")
    write(root, "a.json", b"{}")
    os.link(file, root / "a.onnx")
    done = put(root_fd, removal(root, "a.pth", ["a.onnx", "a.json", "a.json"]))
    assert (done.moved, [left.path for left in done.left]) == (("a.json",), ["a.onnx", "a.json"])
    assert tree(root) == {"a.onnx": DATA}


def test_more_companions_than_a_manifest_takes_stay(root: Path, root_fd: int) -> None:
    write(root, "a.pth")
    names = [f"a{index}" for index in range(66)]
    for name in names:
        write(root, name, name.encode())
    done = put(root_fd, removal(root, "a.pth", names))
    assert (len(done.moved), [left.path for left in done.left]) == (64, names[64:])
    assert restore(root_fd, done.entry).is_gone


def test_long_reasons_are_cut(root: Path, root_fd: int) -> None:
    order = removal(root, write(root, "a.pth").name)
    order = type(order)(order.path, order.identity, order.sha256, NOW, reasons=("\udcff" * 100_000,) * 1_000)
    put(root_fd, order)
    (entry,) = list_entries(root_fd)
    assert (len(entry.manifest.reasons), len(entry.manifest.reasons[0])) == (100, 1_000)


def test_the_manifest_is_safe_before_the_file_moves_and_both_directories_after(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the syncs is what a power cut is survived by."""
    order = removal(root, write(root, "dir/a.pth").relative_to(root).as_posix())
    done = []
    real_sync, real_rename = os.fsync, kernel.rename_between

    def sync(fd: int) -> None:
        name = os.readlink(f"/proc/self/fd/{fd}")
        kind = (
            "entry" if Path(name).parent == trash_of(root) else Path(name.split(" ")[0]).name if os.path.isdir(name) else "file"
        )
        done.append(kind)
        real_sync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(kernel, "rename_between", lambda *args: done.append("move") or real_rename(*args))
    put(root_fd, order)
    assert done[done.index("file") :] == ["file", "entry", "trash", "move", "entry", "dir"]


@pytest.mark.parametrize("way", ["flags", "no flags"])
def test_where_the_file_system_knows_no_flags_it_is_as_safe(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """As on NFS: into the trash by a plain rename, since nothing can lie there; out of it by a link, which replaces nothing."""
    if way == "no flags":
        monkeypatch.setattr(kernel, "rename_between", lambda *_: (_ for _ in ()).throw(kernel.Unsupported(22, "EINVAL")))
    write(root, "a.pth")
    write(root, "a_metadata.json", b"{}")
    done = put(root_fd, removal(root, "a.pth", ["a_metadata.json"]))
    assert (tree(root), done.moved) == ({}, ("a_metadata.json",))
    write(root, "a.pth", b"new")
    with pytest.raises(RefusedError) as raised:
        restore(root_fd, done.entry)
    assert raised.value.refusal is Refusal.TAKEN
    (root / "a.pth").unlink()
    assert restore(root_fd, done.entry).is_gone
    assert tree(root) == {"a.pth": DATA, "a_metadata.json": b"{}"}
    assert (root / "a.pth").stat().st_nlink == 1


def test_the_trash_is_private_whatever_the_umask(root: Path, root_fd: int) -> None:
    previous = os.umask(0)
    try:
        done = put(root_fd, removal(root, write(root, "a.pth").name))
    finally:
        os.umask(previous)
    for place in (root / ".ckptd", trash_of(root), trash_of(root) / done.entry):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
