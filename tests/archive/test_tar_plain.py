"""Archives are read without ckptd: by the tools of plain Debian, and by Python's own."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from ckptd.archive.formats import find_format
from tests.archive.making import FILES, lay_out, write
from tests.contract.test_archives import ODD

TOP = "models_archive_20260102"


@pytest.fixture(params=["tar.gz", "tar.zst"])
def made(request):
    return find_format(request.param)


def unpack(path: Path, target: Path, *options: str) -> None:
    """Unpack with GNU tar; where zstd is not installed, Python's package stands in for `tar --zstd`."""
    target.mkdir()
    if path.name.endswith(".gz"):
        done = subprocess.run(["tar", "-xzf", path, "-C", target, *options], capture_output=True)
    else:
        plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes()), read_across_frames=True).read()
        done = subprocess.run(["tar", "-xf", "-", "-C", target, *options], input=plain, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def path_of(place: Path, name: str) -> Path:
    return Path(os.fsdecode(os.fsencode(place) + b"/" + name.encode("utf-8", "surrogateescape")))


@pytest.mark.parametrize("files", [FILES, ODD], ids=["files", "odd names"])
def test_tar_and_sha256sum_read_it(made, place, directory, tmp_path, files):
    """One folder; in it `sha256sum -c SHA256SUMS` finds all right, the manifest too; bytes, modes and times are there."""
    members = lay_out(tmp_path / "models", files)
    unpack(place / write(made, directory, members).name, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [TOP]
    folder = tmp_path / "out" / TOP
    assert sorted(os.listdir(folder)) == ["MANIFEST.json", "SHA256SUMS", "files"]
    checked = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")
    assert checked.stdout.count(b": OK\n") == len(files) + 1
    for member in members:
        path = path_of(folder / "files", member.name)
        assert path.read_bytes() == files[member.name]
        assert stat.S_IMODE(path.stat().st_mode) == member.mode
        assert path.stat().st_mtime == member.mtime_ns // 1_000_000_000
        assert path.stat().st_uid == os.geteuid()


def test_sha256sum_finds_what_changed(made, place, directory, tmp_path):
    """The sums are those of the files, and not of anything."""
    unpack(place / write(made, directory, lay_out(tmp_path / "models", FILES)).name, tmp_path / "out")
    folder = tmp_path / "out" / TOP
    with (folder / "files" / "net" / "best.pth").open("r+b") as file:
        file.write(b"x")
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 1
    assert "files/net/best.pth: FAILED" in checked.stdout


def test_everything_goes_back_to_its_place(made, place, directory, tmp_path):
    """As docs/archives.md says: without the two outer folders, members lie as they lay below their root."""
    members = lay_out(tmp_path / "models", FILES)
    name = write(made, directory, members).name
    unpack(place / name, tmp_path / "out", "--strip-components=2", f"{TOP}/files")
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "models"))


def test_the_manifest_comes_first(made, place, directory, tmp_path):
    """So that `tar` shows it without reading the rest, and what a truncated file has left is known."""
    name = write(made, directory, lay_out(tmp_path / "models", FILES)).name
    unpack(place / name, tmp_path / "out", f"{TOP}/MANIFEST.json", "--occurrence=1")
    assert (tmp_path / "out" / TOP / "MANIFEST.json").stat().st_size > 100


def test_gzip_finds_nothing_to_say(place, directory, tmp_path):
    """`gzip -t` is silent, `zcat` and Python's gzip give the same tar, and Python's tarfile reads it."""
    name = write(find_format("tar.gz"), directory, lay_out(tmp_path / "models", FILES)).name
    done = subprocess.run(["gzip", "-t", place / name], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
    plain = subprocess.run(["zcat", place / name], capture_output=True, check=True).stdout
    assert gzip.decompress((place / name).read_bytes()) == plain
    with tarfile.open(place / name) as archive:
        assert archive.getnames() == [f"{TOP}/MANIFEST.json", f"{TOP}/SHA256SUMS", *(f"{TOP}/files/{one}" for one in FILES)]
        for one, data in FILES.items():
            file = archive.extractfile(f"{TOP}/files/{one}")
            assert file is not None
            assert file.read() == data


def test_another_archive_of_the_day_is_another_folder(place, directory, tmp_path):
    """What comes out of two archives never mixes."""
    made = find_format("tar.gz")
    members = lay_out(tmp_path / "models", {"a.pth": b"a"})
    write(made, directory, members)
    second = write(made, directory, members, "models_archive_20260102_2.tar.gz").name
    unpack(place / second, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["models_archive_20260102_2"]


def test_the_seek_table_is_the_one_that_zstd_describes(place, directory, tmp_path):
    """Read as another program would: frame by frame, by the sizes of its entries."""
    members = lay_out(tmp_path / "models", FILES)
    data = (place / write(find_format("tar.zst"), directory, members).name).read_bytes()
    count, flags, magic = int.from_bytes(data[-9:-5], "little"), data[-5], data[-4:]
    assert (flags, magic) == (0, bytes.fromhex("b1ea928f"))
    start = len(data) - 9 - 8 * count
    assert data[start - 8 : start] == bytes.fromhex("5e2a4d18") + (8 * count + 9).to_bytes(4, "little")
    at, plain = 0, 0
    for number in range(count):
        entry = data[start + 8 * number : start + 8 * number + 8]
        stored, size = int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:], "little")
        if size:
            assert len(zstandard.ZstdDecompressor().decompress(data[at : at + stored], allow_extra_data=False)) == size
        else:
            assert data[at : at + 4] == bytes.fromhex("5c2a4d18")
        at, plain = at + stored, plain + size
    assert at == start - 8
    assert plain % 512 == 0
