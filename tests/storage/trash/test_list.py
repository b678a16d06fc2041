"""The trash is listed whatever somebody did to it, and what it takes on the disk is what the disk says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.model import Identity
from ckptd.storage.trash import Removal, list_entries, purge, put, restore, sweep, trash_bytes
from ckptd.storage.trash.manifest import (
    Manifest,
    ManifestError,
    Operation,
    Replacing,
    TrashedFile,
    decode_manifest,
    encode_manifest,
)
from tests.storage.trash.making import NOW, removal, trash_of, trashed, write

NAME = "20261124T101500.000000Z-0123456789abcdef"


def changed(value: Any, where: str, to: object) -> bytes:
    """Give a manifest with one value changed; ... takes it away."""
    *way, last = where.split(".")
    inner = value
    for key in way:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    if to is ...:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = to
    return json.dumps(value).encode()


HOSTILE = [
    ("checkpoint.path", "../outside"),
    ("checkpoint.path", "/etc/passwd"),
    ("checkpoint.path", ".ckptd/index.db"),
    ("checkpoint.path", "dir/../../outside"),
    ("checkpoint.path", "a\0b"),
    ("checkpoint.path", ""),
    ("checkpoint.path", "\ud800"),
    ("checkpoint.path", 7),
    ("checkpoint.stored", "../a.pth"),
    ("checkpoint.stored", "manifest.json"),
    ("checkpoint.stored", ".ckptd-0123456789abcdef.tmp"),
    ("checkpoint.stored", "."),
    ("checkpoint.stored", "x" * 256),
    ("checkpoint.stored", "a_metadata.json"),
    ("checkpoint.sha256", "0" * 63),
    ("checkpoint.sha256", "G" * 64),
    ("checkpoint.sha256", None),
    ("checkpoint.size_bytes", "7"),
    ("checkpoint.size_bytes", 7.0),
    ("checkpoint.size_bytes", True),
    ("checkpoint.mtime_ns", 10**30),
    ("checkpoint.mode", "rwx"),
    ("checkpoint.mode", 420),
    ("checkpoint.ino", ...),
    ("checkpoint", []),
    ("companions", {}),
    ("companions", [7]),
    ("companions", ...),
    ("reasons", "text"),
    ("reasons", [None]),
    ("removed_at", "now"),
    ("removed_at", float("nan")),
    ("removed_at", float("inf")),
    ("removed_at", True),
    ("removed_at", 10**400),
    ("schema_version", 2),
    ("schema_version", ...),
    ("operation", "delete"),
    ("operation", "exchange"),
    ("replacement", {}),
    ("group", 7),
    ("job", None),
]
TEXTS = [b"", b"{", b"null", b"[]", b"7", b"[" * 100_000, b'"\xff"', b"\xff\xfe", b"\0" * 100]


def put_away(root: Path, root_fd: int) -> Path:
    write(root, "a.pth")
    write(root, "a_metadata.json", b"{}")
    return trash_of(root) / put(root_fd, removal(root, "a.pth", ["a_metadata.json"])).entry / "manifest.json"


@pytest.mark.parametrize(("where", "to"), HOSTILE)
def test_a_manifest_that_is_none_is_listed_and_nothing_is_done_by_it(root: Path, root_fd: int, where: str, to: object) -> None:
    """Not restored, not purged, not swept; and never dropped from the list."""
    manifest = put_away(root, root_fd)
    manifest.write_bytes(changed(json.loads(manifest.read_text()), where, to))
    hands_off(root, root_fd)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:10]))
def test_bytes_that_are_no_manifest(root: Path, root_fd: int, text: bytes) -> None:
    put_away(root, root_fd).write_bytes(text)
    hands_off(root, root_fd)


def test_a_manifest_that_is_too_long_is_not_read_to_its_end(root: Path, root_fd: int) -> None:
    manifest = put_away(root, root_fd)
    manifest.write_bytes(manifest.read_bytes() + b" " * (4 << 20))
    hands_off(root, root_fd)


@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo", "missing", "two"])
def test_a_manifest_that_is_no_file(root: Path, root_fd: int, kind: str) -> None:
    manifest = put_away(root, root_fd)
    manifest.rename(root.parent / "manifest.json")
    match kind:
        case "link":
            manifest.symlink_to(root.parent / "manifest.json")
        case "dangling":
            manifest.symlink_to("nowhere")
        case "directory":
            manifest.mkdir()
        case "fifo":
            os.mkfifo(manifest)
        case "two":
            for name in ("manifest.json", "intent.json"):
                shutil.copy(root.parent / "manifest.json", manifest.parent / name)
    hands_off(root, root_fd)


def hands_off(root: Path, root_fd: int) -> None:
    before = trashed(root)
    (entry,) = list_entries(root_fd)
    assert entry.manifest is None
    assert entry.problem
    assert entry.problem.isprintable()
    assert entry.allocated_bytes >= 12_288
    assert sweep(root_fd, NOW) == []
    assert purge(root_fd, entry.name, NOW + 1e9, grace_seconds=0).outcome == "broken"
    with pytest.raises(Exception, match=r"manifest"):
        restore(root_fd, entry.name)
    assert (trashed(root), os.listdir(root)) == (before, [".ckptd"])


@pytest.mark.parametrize("kind", ["file", "link", "directory", "entry that is a file", "entry that is a link"])
def test_what_is_no_entry_is_listed_and_left_alone(root: Path, root_fd: int, kind: str) -> None:
    put_away(root, root_fd)
    place = trash_of(root) / (NAME if kind.startswith("entry") else "notes\n")
    match kind.removeprefix("entry that is a "):
        case "file":
            place.write_bytes(b"a person's")
        case "link":
            place.symlink_to(root)
        case _:
            place.mkdir()
    problems = [entry.problem for entry in list_entries(root_fd)]
    assert len(problems) == 2
    assert sum(map(bool, problems)) == 1
    assert sweep(root_fd, NOW) == []
    assert os.path.lexists(place)
    assert trash_bytes(root_fd) > 0


def test_the_trash_takes_what_the_disk_says(root: Path, root_fd: int) -> None:
    """Blocks, not lengths: a file with holes takes little; and hard links count when the last name is in the trash."""
    write(root, "sparse.pth", b"")
    os.truncate(root / "sparse.pth", 1 << 24)
    put(root_fd, Removal("sparse.pth", Identity.of((root / "sparse.pth").stat()), "0" * 64, NOW))
    assert trash_bytes(root_fd) < 1 << 20
    file = write(root, "a.pth", bytes(100_000))
    os.link(file, root / "b.pth")
    before = trash_bytes(root_fd)
    put(root_fd, removal(root, "a.pth", at=NOW + 1))
    assert trash_bytes(root_fd) - before < 20_000
    assert list_entries(root_fd)[-1].allocated_bytes >= 100_000
    before = trash_bytes(root_fd)
    put(root_fd, removal(root, "b.pth", at=NOW + 2))
    assert 100_000 <= trash_bytes(root_fd) - before < 130_000
    done = [purge(root_fd, entry.name, NOW + 3, grace_seconds=0) for entry in list_entries(root_fd)[1:]]
    assert [one.links for one in done] == [1, 0]
    assert purge(root_fd, list_entries(root_fd)[0].name, NOW + 3, grace_seconds=0).outcome == "gone-back", (
        "its digest was wrong"
    )
    assert trash_bytes(root_fd) == 0


def test_two_thousand_entries(root: Path, root_fd: int) -> None:
    """Listed, added up and swept without a file being read but the manifests."""
    write(root, "first.pth", b"x")
    put(root_fd, removal(root, "first.pth"))
    (entry,) = list_entries(root_fd)
    trash = os.open(trash_of(root), os.O_RDONLY)
    for index in range(2_000):
        name = f"20261124T{index // 3600:02d}{index // 60 % 60:02d}{index % 60:02d}.000000Z-{index:016x}"
        os.mkdir(name, 0o700, dir_fd=trash)
        fd = os.open(name, os.O_RDONLY, dir_fd=trash)
        Path(f"/proc/self/fd/{fd}/manifest.json").write_bytes(encode_manifest(entry.manifest))
        os.close(os.open("first.pth", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        os.close(fd)
    os.close(trash)
    found = list_entries(root_fd)
    assert len(found) == 2_001
    assert all(entry.holds_checkpoint and not entry.problem for entry in found)
    assert sweep(root_fd, NOW) == []
    assert trash_bytes(root_fd) > 0


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from(["\udcff", "\udc80", "\0", "/", "."]), max_size=20)
PART = TEXT.map(lambda text: text.replace("/", "").replace("\0", "")).filter(lambda part: part not in ("", ".", "..", ".ckptd"))
WHOLE = st.integers(-(2**63), 2**64 - 1)
IDENTITY = st.builds(Identity, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE)
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
FILE = st.builds(
    TrashedFile,
    what=st.sampled_from(["checkpoint", "sidecar", "export"]),
    path=st.lists(PART, min_size=1, max_size=3).map("/".join),
    stored=PART.filter(lambda name: not name.endswith((".json", ".tmp"))),
    sha256=DIGEST,
    identity=IDENTITY,
    uid=WHOLE,
    gid=WHOLE,
    mode=st.integers(0, 0o7777),
)


@given(
    st.lists(FILE, min_size=1, max_size=4, unique_by=lambda file: file.stored),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(TEXT, max_size=3),
    st.none() | TEXT,
    st.none() | st.builds(Replacing, DIGEST, IDENTITY),
)
@settings(max_examples=100, deadline=None)
def test_law_what_is_written_is_read(files: list, at: float, reasons: list, group: str | None, replacing: Any) -> None:
    """Whatever the names, times and numbers are."""
    operation = Operation.PUT if replacing is None else Operation.EXCHANGE
    manifest = Manifest(operation, at, files[0], tuple(files[1:]), tuple(reasons), "job", "run", group, replacing)
    assert decode_manifest(encode_manifest(manifest)) == manifest


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["schema_version", "operation", "removed_at", "checkpoint", "companions", "reasons", "path", "stored"]
                ),
                inner,
                max_size=8,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None)
def test_law_anything_else_is_told_as_no_manifest(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(data)


def test_an_entry_that_vanishes_while_it_is_read_is_no_error(root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process purges at the same time."""
    put_away(root, root_fd)
    real = os.listdir

    def listdir(where):
        names = real(where)
        return [*names, NAME] if len(names) == 1 else names

    monkeypatch.setattr(os, "listdir", listdir)
    assert len(list_entries(root_fd)) == 1
    assert sweep(root_fd, NOW) == []
