"""Archives and objects that somebody made to do harm: an ArchiveError or an answer, never a crash, and never much memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zlib
from pathlib import Path
from struct import Struct

import pytest

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack import table
from ckptd.archive.pack.trouble import DamageError
from tests.archive.pack.packing import PACK, make_bytes, object_files, pack, restored, verify


@pytest.mark.parametrize(("what", "count"), [("tables", 200), ("objects", 120), ("chunks", 3_000)])
def test_mutants(tmp_path: Path, what: str, count: int) -> None:
    """No exception but ArchiveError, no crash, no memory beyond a limit; and what was not changed is read afterwards."""
    command = [sys.executable, "-m", "tests.archive.pack.fuzzing", what, str(count), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, read = map(int, done.stdout.split())
    assert refused + read == count
    assert refused


@pytest.fixture
def made(archives: int, home: Path, tmp_path: Path) -> table.Table:
    """The table of an archive of one file, which is one object of 100,000 bytes."""
    (tmp_path / "a").write_bytes(make_bytes(1, 100_000))
    pack(archives, "a.pack", [tmp_path / "a"])
    data = (home / "a.pack").read_bytes()
    return table.parse_block(memoryview(data[: len(data) // 2]), len(data) // 2)


def _write(home: Path, found: table.Table, *, manifest: bytes = b"", places: bytes = b"", recipes: list[bytes]) -> None:
    packed = places or b"".join(map(table.pack_place, found.objects))
    block = table.make_block(manifest or found.manifest, found.objects.files, packed, recipes)
    (home / "a.pack").write_bytes(block * 2)


def _recipe(*runs: tuple[int, int], skeleton: tuple[int, ...] = ()) -> bytes:
    numbers = b"".join(map(table.pack_number, skeleton))
    return table.pack_recipe(numbers, b"".join(table.pack_run(table.Run(*run)) for run in runs))


@pytest.mark.parametrize(
    "recipe",
    [
        _recipe(),
        _recipe((0, 1)),
        _recipe((0, 0), (0, 0)),
        _recipe((0, table.NO_OBJECT)),
        _recipe((100_000, table.NO_OBJECT)),
        _recipe((99_999, table.NO_OBJECT), skeleton=(0,)),
        _recipe((100_000, table.NO_OBJECT), skeleton=(0, 0)),
        _recipe((0xFFFFFFFF, 0), skeleton=(0,)),
        _recipe((100_000, 0), skeleton=(0,)),
        _recipe((0, 0), skeleton=(0,)),
        _recipe((0, 0), skeleton=(7,)),
    ],
)
def test_recipes_that_do_not_make_the_file(archives: int, home: Path, made: table.Table, scratch: Path, recipe: bytes) -> None:
    """Too little, too much, the same twice, what isn't listed, a skeleton that is too short or left over."""
    _write(home, made, recipes=[recipe])
    assert [one.name for one in verify(archives, "a.pack").lost] == ["a"]
    with pytest.raises(ArchiveError):
        restored(archives, "a.pack", "a", scratch)
    assert not scratch.exists() or scratch.stat().st_size <= 100_000


def test_skeleton_may_be_the_whole_file(archives: int, home: Path, made: table.Table, scratch: Path) -> None:
    """The other way to say the same; so the refusals above are for what is wrong in them."""
    _write(home, made, recipes=[_recipe((60_000, table.NO_OBJECT), (40_000, table.NO_OBJECT), skeleton=(0,))])
    assert verify(archives, "a.pack").is_whole
    assert restored(archives, "a.pack", "a", scratch) == make_bytes(1, 100_000)


@pytest.mark.parametrize(
    "change",
    [
        {"raw_bytes": 1 << 30, "stored_bytes": 1 << 30},
        {"raw_bytes": 0},
        {"raw_bytes": 99_999},
        {"stored_bytes": 0},
        {"stored_bytes": 100_001},
        {"file": 1},
        {"offset": 0},
        {"offset": (1 << 64) - 1},
        {"offset": 1 << 61},
        {"codec": 1},
        {"codec": 9},
        {"crc": 0},
    ],
)
def test_objects_with_impossible_numbers(archives: int, home: Path, made: table.Table, change: dict[str, int]) -> None:
    (place,) = made.objects
    _write(home, made, places=table.pack_place(place._replace(**change)), recipes=[_recipe((0, 0))])
    assert [one.name for one in verify(archives, "a.pack").lost] == ["a"]


@pytest.mark.parametrize(
    "change", [{"raw_bytes": 1 << 30}, {"raw_bytes": 0}, {"stored_bytes": 0}, {"stored_bytes": 101}, {"raw_bytes": 4_194_305}]
)
def test_impossible_sizes_are_refused_before_anything_is_read(change: dict[str, int]) -> None:
    place = table.Place(bytes(32), 0, 32, 100, 100, 0, 0)._replace(**change)
    with pytest.raises(DamageError, match="impossible size"):
        table.Objects([bytes(16)], memoryview(table.pack_place(place)))[0]


def test_recipes_that_do_not_fill_the_block() -> None:
    """One that says it is longer than the block, and bytes behind the last one."""
    good = _recipe((0, 0))
    place = table.pack_place(table.Place(bytes(32), 0, 32, 1, 1, 0, 0))
    for recipe, why in ((good + b"x" * 4, "follow"), (good[:-8], "too early"), (good[:4], "too early")):
        block = table.make_block(b"{}", [bytes(16)], place, [recipe])
        with pytest.raises(DamageError, match=why):
            table.parse_block(memoryview(block), len(block))


def test_file_made_of_one_object_many_times(archives: int, home: Path, made: table.Table, scratch: Path) -> None:
    """A bomb of 1 MB that would be 10 GB: it ends where the manifest says that the file ends."""
    _write(home, made, recipes=[_recipe(*[(0, 0)] * 100_000)])
    with pytest.raises(ArchiveError, match="another number of bytes"):
        restored(archives, "a.pack", "a", scratch)
    assert scratch.stat().st_size <= 100_000


def test_bomb_is_no_larger_than_the_disk(archives: int, home: Path, made: table.Table, scratch: Path) -> None:
    """Where the manifest says so as well, nothing is written before it is known to fit."""
    manifest = json.loads(made.manifest)
    manifest["entries"][0]["size_bytes"] = 1 << 60
    _write(home, made, manifest=json.dumps(manifest).encode(), recipes=[_recipe((0, 0), (0, 0))])
    with pytest.raises(ArchiveError, match="more than are free"):
        restored(archives, "a.pack", "a", scratch)


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", ".", "a\\u0000b"])
def test_names_that_lead_out(archives: int, home: Path, made: table.Table, name: str) -> None:
    manifest = made.manifest.replace(b'"name": "a"', b'"name": "%s"' % name.encode())
    assert manifest != made.manifest
    _write(home, made, manifest=manifest, recipes=[_recipe((0, 0))])
    with pytest.raises(ArchiveError):
        PACK.read_manifest(archives, "a.pack")


@pytest.mark.parametrize(
    ("offset", "format_", "value"),
    [
        (8, "<I", 2),
        (12, "<I", 1),
        (16, "<Q", 1 << 40),
        (24, "<Q", 1 << 63),
        (32, "<I", 0xFFFFFFFF),
        (36, "<I", 0xFFFFFFFF),
        (40, "<I", 0xFFFFFFFF),
        (40, "<I", 0),
        (44, "<I", 1),
    ],
)
def test_heads_that_lie(archives: int, home: Path, made: table.Table, offset: int, format_: str, value: int) -> None:
    """Counts and lengths beyond the file, with a digest that is right."""
    data = (home / "a.pack").read_bytes()
    block = bytearray(data[: len(data) // 2])
    Struct(format_).pack_into(block, offset, value)
    block[48:80] = hashlib.sha256(bytes(block[:48]) + bytes(block[80:])).digest()
    (home / "a.pack").write_bytes(bytes(block) * 2)
    found = verify(archives, "a.pack")
    assert found.manifest is None
    with pytest.raises(ArchiveError):
        PACK.read_manifest(archives, "a.pack")


def test_manifest_of_another_archive(archives: int, home: Path, made: table.Table) -> None:
    """Of another format, or of another number of members than there are recipes."""
    other = made.manifest.replace(b'"format": "pack"', b'"format": "tar.gz"')
    assert other != made.manifest
    for manifest, recipes in ((other, [_recipe((0, 0))]), (made.manifest, [_recipe((0, 0))] * 2)):
        _write(home, made, manifest=manifest, recipes=recipes)
        assert verify(archives, "a.pack").lost[0].why == "its manifest is that of another archive"


def test_more_recipes_than_an_archive_has(archives: int, home: Path, made: table.Table) -> None:
    """Eight bytes each in the file, and fifty times as many in memory."""
    _write(home, made, recipes=[_recipe()] * 100_000)
    found = verify(archives, "a.pack")
    assert found.lost[0].why == "it lists more than an archive has"


def test_more_object_files_than_objects(archives: int, home: Path, made: table.Table) -> None:
    files = [*made.objects.files, bytes(16)]
    packed = b"".join(map(table.pack_place, made.objects))
    (home / "a.pack").write_bytes(table.make_block(made.manifest, files, packed, [_recipe((0, 0))]) * 2)
    assert verify(archives, "a.pack").lost[0].why == "it lists more than an archive has"


def test_file_of_single_bytes(archives: int, home: Path, tmp_path: Path, made: table.Table, scratch: Path) -> None:
    """Objects of one byte are allowed to a writer, and no reader has more of them in hand than a few thousand."""
    manifest = json.loads(made.manifest)
    data = bytes(20_000)
    manifest["entries"][0].update(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (file,) = object_files(home)
    stored = bytearray(file.read_bytes())
    stored[32] = 0
    file.write_bytes(stored)
    place = table.Place(hashlib.sha256(b"\0").digest(), 0, 32, 1, 1, zlib.crc32(b"\0"), 0)
    recipe = _recipe(*[(0, 0)] * len(data))
    _write(home, made, manifest=json.dumps(manifest).encode(), places=table.pack_place(place), recipes=[recipe])
    seen: list[int] = []
    assert PACK.verify(archives, "a.pack", seen.append).is_whole
    assert seen == [4096, 8192, 12_288, 16_384, 20_000]
    assert restored(archives, "a.pack", "a", scratch) == data


def test_larger_table_than_any_is_not_read(archives: int, home: Path, made: table.Table) -> None:
    """A sparse file of a terabyte is refused before it is in memory."""
    data = bytearray((home / "a.pack").read_bytes())
    data[16:24] = (1 << 39).to_bytes(8, "little")
    (home / "a.pack").write_bytes(data)
    with (home / "a.pack").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ArchiveError, match="longer than"):
        PACK.read_manifest(archives, "a.pack")
    assert object_files(home)
