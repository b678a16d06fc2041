"""The contract of every archive format: one suite for all, and a new format is a new line in `FORMATS`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptd.archive.formats import FORMATS, find_format, format_of
from ckptd.archive.interface import ArchiveError, MemberChangedError
from ckptd.settings.retention import ARCHIVE_FORMATS
from tests.archive.making import FILES, NOW, ignore, lay_out, lists, member_of, noise, restore, write

PROJECT = Path(__file__).parents[2]

#: Names that people, or somebody who means harm, give to files.
ODD = {
    "MANIFEST.json": b"a member may have this name",
    "SHA256SUMS": b"and this one",
    "with space and ünïcode.pth": b"1",
    "new\nline and back\\slash.pth": b"2",
    "carriage\rreturn\r": b"3",
    "not utf-8 \udcff\udcfe.pth": b"4",
    "-rf": b"5",
    "long/" + "/".join(["d" * 200] * 3) + "/" + "n" * 250 + ".pth": b"6",
    "exactly" + "x" * 69 + ".pth": b"7",  # with the folder before it, 100 bytes, and one more
    "exactly" + "x" * 70 + ".pth": b"8",
    "files/files/MANIFEST.json": b"9",
}
#: Prints the memory that writing, verifying and restoring one large file took beyond what small ones took before.
MEMORY = """
import os, sys
from pathlib import Path
from ckptd.archive.formats import find_format
from tests.archive.making import ignore, member_of, restore, write

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10

made, models, archives = find_format(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
directory = os.open(archives, os.O_RDONLY)
for name in ("small", "large"):
    Path("/proc/self/clear_refs").write_text("5")
    start = peak()
    archive = write(made, directory, [member_of(models / name, name)], f"{name}.{made.suffix}").name
    assert made.verify(directory, archive, ignore).is_whole
    restore(made, directory, archive, name, models / "target")
    grown = peak() - start
print(grown)
"""


@pytest.fixture(params=[one.name for one in FORMATS])
def made(request):
    """Each format in turn."""
    return find_format(request.param)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "archives").mkdir()
    return tmp_path / "archives"


@pytest.fixture
def directory(place):
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_the_settings_offer_what_there_is():
    """And a file's name says which format it is."""
    assert {one.name for one in FORMATS} == set(ARCHIVE_FORMATS)
    for one in FORMATS:
        made = find_format(one.name)
        assert made.name == one.name
        assert type(format_of(f"models_archive_20260102.{made.suffix}")) is type(made)
    assert format_of("notes.txt") is None
    with pytest.raises(ArchiveError, match=r"there is no 'rar'.*take one of"):
        find_format("rar")


@pytest.mark.parametrize("files", [FILES, ODD], ids=["files", "odd names"])
def test_what_is_put_away_comes_back(made, place, directory, tmp_path, files):
    """Every byte, and what the manifest says of each."""
    members = lay_out(tmp_path / "models", files)
    receipt = write(made, directory, members)
    assert (place / receipt.name).is_file()
    assert receipt.size_bytes == sum(lists(place).values())
    checked = made.verify(directory, receipt.name, ignore)
    assert checked.is_whole, checked.lost
    assert checked.good == tuple(files)
    assert checked.manifest == receipt.manifest == made.read_manifest(directory, receipt.name)
    assert receipt.manifest.format == made.name
    assert receipt.manifest.created_at == NOW
    for member, entry in zip(members, receipt.manifest.entries, strict=True):
        assert (entry.name, entry.what, entry.size_bytes, entry.sha256) == (
            member.name,
            member.what,
            member.size_bytes,
            member.sha256,
        )
        assert (entry.mtime_ns, entry.mode, entry.facts) == (member.mtime_ns, member.mode, member.facts)
        assert restore(made, directory, receipt.name, member.name, tmp_path / "target") == files[member.name]


def test_the_receipt_has_the_digest_of_the_file(made, place, directory, tmp_path):
    """As `sha256sum` gives it."""
    receipt = write(made, directory, lay_out(tmp_path / "models", FILES))
    done = subprocess.run(["sha256sum", place / receipt.name], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == receipt.sha256


def test_progress_tells_the_bytes_of_members(made, directory, tmp_path):
    """Growing, up to all of them, on writing and on reading."""
    members = lay_out(tmp_path / "models", FILES)
    for call in (
        lambda progress: write(made, directory, members, progress=progress).name,
        lambda progress: made.verify(directory, f"models_archive_20260102.{made.suffix}", progress),
    ):
        told = []
        call(told.append)
        assert told == sorted(told)
        assert told[-1] == sum(map(len, FILES.values()))


def test_progress_may_stop_the_work(made, place, directory, tmp_path):
    """Nothing is left."""

    class StopError(Exception):
        pass

    def stop(done):
        if done > 1_000_000:
            raise StopError

    members = lay_out(tmp_path / "models", FILES)
    with pytest.raises(StopError):
        write(made, directory, members, progress=stop)
    assert lists(place) == {}
    name = write(made, directory, members).name
    with pytest.raises(StopError):
        made.verify(directory, name, stop)


def test_a_name_that_exists_is_not_replaced(made, place, directory, tmp_path):
    """Whatever lies there."""
    members = lay_out(tmp_path / "models", {"a.pth": b"a"})
    name = f"models_archive_20260102.{made.suffix}"
    (place / name).write_bytes(b"somebody's")
    with pytest.raises(ArchiveError, match="exists"):
        write(made, directory, members, name)
    assert lists(place) == {name: 10}


def test_a_name_that_is_taken_meanwhile_is_not_replaced(made, place, directory, tmp_path):
    """By somebody, while the archive was written."""
    members = lay_out(tmp_path / "models", {"a.pth": b"a" * 1000})
    name = f"models_archive_20260102.{made.suffix}"
    with pytest.raises(ArchiveError, match="exists"):
        write(made, directory, members, name, progress=lambda _done: (place / name).write_bytes(b"somebody's"))
    assert lists(place) == {name: 10}


def _rewrite(path):
    path.write_bytes(noise(700, 9))


def _grow(path):
    path.write_bytes(path.read_bytes() + b"more")


def _shrink(path):
    path.write_bytes(path.read_bytes()[:-1])


def _to_directory(path):
    path.unlink()
    path.mkdir()


def _to_fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [_rewrite, _grow, _shrink, Path.unlink, _to_directory])
def test_a_file_that_changed_is_named(made, place, directory, tmp_path, change):
    """So that the caller leaves it out; nothing is left."""
    members = lay_out(tmp_path / "models", FILES)
    change(tmp_path / "models" / "small.pth")
    with pytest.raises(MemberChangedError) as caught:
        write(made, directory, members)
    assert caught.value.member == "small.pth"
    assert lists(place) == {}
    rest = [member for member in members if member.name != "small.pth"]
    assert made.verify(directory, write(made, directory, rest).name, ignore).is_whole


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, 10_000), _rewrite])
def test_a_file_that_changes_while_it_is_read_is_named(made, place, directory, tmp_path, change):
    """The first bytes of it were read already."""
    members = lay_out(tmp_path / "models", {"net.pth": noise(12_000_000)})
    path = tmp_path / "models" / "net.pth"
    inode = path.stat().st_ino

    def progress(done, changed=[]):  # noqa: B006 — once
        if not changed:
            changed.append(done)
            change(path)
            assert path.stat().st_ino == inode

    with pytest.raises(MemberChangedError) as caught:
        write(made, directory, members, progress=progress)
    assert caught.value.member == "net.pth"
    assert lists(place) == {}


def test_a_fifo_is_no_member(made, directory, tmp_path):
    """Nor does it block."""
    (member,) = lay_out(tmp_path / "models", {"a.pth": b""})
    path = tmp_path / "models" / "a.pth"
    _to_fifo(path)
    fifo = member.__class__(
        *(member.name, member.what, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK), 0, member.sha256, member.mtime_ns)
    )
    with pytest.raises(MemberChangedError):
        write(made, directory, [fifo])


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.pth", "a/../b.pth", "a//b.pth", "./a.pth", "", "nul\0.pth", "x" * 256])
def test_a_name_that_leads_elsewhere_is_refused(made, place, directory, tmp_path, name):
    """On writing as on reading."""
    (tmp_path / "a.pth").write_bytes(b"a")
    with pytest.raises(ArchiveError):
        write(made, directory, [member_of(tmp_path / "a.pth", name)])
    assert lists(place) == {}


@pytest.mark.parametrize("names", [("a.pth", "a.pth"), ("a", "a/b.pth"), ()])
def test_names_that_cannot_stand_side_by_side_are_refused(made, place, directory, tmp_path, names):
    """Twice the same, a folder that is a file, or none at all."""
    (tmp_path / "a.pth").write_bytes(b"a")
    with pytest.raises(ArchiveError):
        write(made, directory, [member_of(tmp_path / "a.pth", name) for name in names])
    assert lists(place) == {}


def test_what_has_to_stay_free_stays_free(made, place, directory, tmp_path):
    """The floor is checked while the archive grows."""
    members = lay_out(tmp_path / "models", {"net.pth": noise(3_000_000)})
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    with pytest.raises(ArchiveError, match="have to stay free"):
        write(made, directory, members, free_bytes=free + (1 << 30))
    assert lists(place) == {}


@pytest.mark.root
def test_a_full_disk_leaves_nothing(made, tmp_path):
    """A tmpfs of 2 MiB, and an archive of 3 MB; what lies there is as it was."""
    members = lay_out(tmp_path / "models", {"small.pth": b"s", "net.pth": noise(3_000_000)})
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "ckptd-test", disk], check=True)
    directory = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
    try:
        kept = write(made, directory, members[:1]).name
        before = lists(disk)
        with pytest.raises(ArchiveError):
            write(made, directory, members, f"models_archive_20260102_2.{made.suffix}")
        assert lists(disk) == before
        assert made.verify(directory, kept, ignore).is_whole
    finally:
        os.close(directory)
        subprocess.run(["umount", disk], check=True)


def test_a_kill_leaves_no_archive(made, place, directory, tmp_path):
    """At the first byte and in the middle: no name that is one, and the next run writes it."""
    members = lay_out(tmp_path / "models", FILES)
    for limit in (0, 1_500_000):
        child = os.fork()
        if not child:
            write(
                made,
                directory,
                members,
                progress=lambda done, limit=limit: done < limit or os.kill(os.getpid(), signal.SIGKILL),
            )
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert not list(place.glob("models_archive*"))
    assert made.verify(directory, write(made, directory, members).name, ignore).is_whole


def test_a_member_that_is_not_there(made, directory, tmp_path):
    """One clear sentence."""
    name = write(made, directory, lay_out(tmp_path / "models", {"a.pth": b"a"})).name
    with pytest.raises(ArchiveError):
        restore(made, directory, name, "b.pth", tmp_path / "target")


def test_an_archive_that_is_not_there(made, place, directory, tmp_path):
    """Missing, a link, a directory, a FIFO: an error, at once."""
    name = write(made, directory, lay_out(tmp_path / "models", {"a.pth": b"a"})).name
    (place / f"link.{made.suffix}").symlink_to(name)
    (place / f"directory.{made.suffix}").mkdir()
    os.mkfifo(place / f"fifo.{made.suffix}")
    for stem in ("missing", "link", "directory", "fifo"):
        other = f"{stem}.{made.suffix}"
        for call in (
            lambda other=other: made.verify(directory, other, ignore),
            lambda other=other: made.read_manifest(directory, other),
            lambda other=other: restore(made, directory, other, "a.pth", tmp_path / "target"),
            lambda other=other: made.remove(directory, other),
        ):
            with pytest.raises(ArchiveError):
                call()
    with pytest.raises(ArchiveError):
        made.verify(directory, f"../archives/{name}", ignore)


@pytest.mark.parametrize("data", [b"", b"x", noise(100_000), bytes(100_000)], ids=["empty", "byte", "noise", "zeros"])
def test_what_is_no_archive(made, place, directory, tmp_path, data):
    """Verification says so, and does not raise."""
    name = f"models_archive_20260102.{made.suffix}"
    (place / name).write_bytes(data)
    checked = made.verify(directory, name, ignore)
    assert checked.manifest is None
    assert not checked.is_whole
    assert checked.lost[0].why
    with pytest.raises(ArchiveError):
        made.read_manifest(directory, name)
    with pytest.raises(ArchiveError):
        restore(made, directory, name, "a.pth", tmp_path / "target")


def survivors(made, directory, name, files, scratch):
    """Give the members that come back, after checking that nothing comes back as something else."""
    back = set()
    for member, data in files.items():
        try:
            assert restore(made, directory, name, member, scratch) == data
            back.add(member)
        except ArchiveError:
            continue
    return back


@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.1])
def test_a_truncated_archive_is_never_whole(made, place, directory, tmp_path, part):
    """What verification calls good comes back; nothing comes back as something else."""
    name = write(made, directory, lay_out(tmp_path / "models", FILES)).name
    os.truncate(place / name, int((place / name).stat().st_size * part))
    checked = made.verify(directory, name, ignore)
    assert not checked.is_whole
    assert set(checked.good) == survivors(made, directory, name, FILES, tmp_path / "target")


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_is_never_believed(made, place, directory, tmp_path, seed):
    """Good is what comes back bit for bit, and when all is good although a bit differs, all comes back."""
    name = write(made, directory, lay_out(tmp_path / "models", FILES)).name
    data = bytearray((place / name).read_bytes())
    at = seed * len(data) // 12
    data[at] ^= 1 << seed % 8
    (place / name).write_bytes(data)
    checked = made.verify(directory, name, ignore)
    assert set(checked.good) == survivors(made, directory, name, FILES, tmp_path / "target")
    assert checked.is_whole == (not checked.lost)


def test_removing_gives_back_space(made, place, directory, tmp_path):
    """The name is free afterwards, and what other archives hold stays."""
    first = write(made, directory, lay_out(tmp_path / "models", FILES)).name
    second = write(
        made, directory, lay_out(tmp_path / "more", {"b.pth": noise(50_000, 5)}), f"models_archive_20260102_2.{made.suffix}"
    )
    assert made.remove(directory, first) >= 2_000_000
    assert not (place / first).exists()
    assert made.verify(directory, second.name, ignore).is_whole
    with pytest.raises(ArchiveError):
        made.remove(directory, first)
    assert write(made, directory, lay_out(tmp_path / "models", FILES), first).name == first


def test_memory_does_not_grow_with_the_file(made, place, tmp_path):
    """A file of 160 MiB in less than 64 MiB; the test's own digest of it reads it in pieces."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "small").write_bytes(b"small")
    with (models / "large").open("wb") as file:
        for number in range(160):
            file.write(number.to_bytes(4, "big") + noise(1 << 18, number) * 4)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, made.name, models, place], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert int(done.stdout) < 64
