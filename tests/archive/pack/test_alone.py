"""docs/pack.md is enough: a reader written from it, without a line of ckptd, gives every member back."""

from __future__ import annotations

from pathlib import Path

from ckptd.archive.pack import table
from ckptd.archive.pack.sizes import LONGEST_STRETCH_BYTES, PIECE_BYTES, SMALLEST_OBJECT_BYTES
from tests.archive.pack.packing import make_bytes, make_numbers, pack
from tests.archive.pack.reading_alone import read_member


def test_short_reader_reads_everything(archives: int, home: Path, tmp_path: Path, zipped) -> None:
    """Zips, noise, an empty file, and what a later archive shares with an earlier one."""
    paths = [zipped("1.pth", {"a": 1, "b": 2}), zipped("2.pth", {"a": 1, "b": 3})]
    for name, data in (("empty", b""), ("noise", make_bytes(1, 70_000)), ("numbers", make_numbers(5, 30_000))):
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    pack(archives, "a.pack", paths[:1])
    pack(archives, "b.pack", paths)
    for path in paths:
        assert read_member(home / "b.pack", path.name) == path.read_bytes()


def test_page_names_every_number() -> None:
    """The limits and marks of the code stand in the documentation as they are."""
    page = (Path(__file__).parents[3] / "docs" / "pack.md").read_text()
    for wanted in (
        table.MAGIC.decode(),
        "CKPTOBJS",
        f"{table.HEAD_BYTES} bytes",
        f"{PIECE_BYTES >> 20} MiB",
        f"{SMALLEST_OBJECT_BYTES >> 10} KiB",
        f"{LONGEST_STRETCH_BYTES >> 10} KiB",
        "0xFFFFFFFF",
        "0x85",
        "0x95",
    ):
        assert wanted in page, wanted
