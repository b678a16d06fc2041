"""Damage costs the members that it touches and no other; nothing that is damaged comes back as something else."""

from __future__ import annotations

import errno
import os
from itertools import accumulate

import pytest

from ckptd.archive.formats import find_format
from ckptd.archive.interface import ArchiveError
from ckptd.archive.manifest import parse_manifest, render_manifest
from ckptd.archive.tar import frames
from ckptd.archive.tar.layout import place_entry, render_own
from tests.archive.making import Crafted, ignore, lay_out, noise, restore, write

#: Members that fill frames of their own, and small ones between that share one.
MANY = {
    "a.pth": noise(1_500_000, 1),
    "a_metadata.json": b"{}" * 100,
    "b.pth": noise(2_200_000, 2),
    "c/small.pth": noise(300_000, 3),
    "c/small_metadata.json": b"[]" * 100,
    "c/other.pth": noise(400_000, 4),
    "d.pth": noise(1_100_000, 5),
}


@pytest.fixture(params=["tar.gz", "tar.zst"])
def made(request):
    return find_format(request.param)


@pytest.fixture
def archive(made, place, directory, tmp_path):
    """An archive of MANY: its path and its table."""
    name = write(made, directory, lay_out(tmp_path / "models", MANY)).name
    return place / name


def tail_of(made, path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return made.codec().read_tail(fd, path.stat().st_size)
    finally:
        os.close(fd)


def table_of(made, path):
    return tail_of(made, path).table


def members_by_frame(made, directory, path):
    """Give the names of the members in each frame, by where the headers say that they lie."""
    table, manifest = table_of(made, path), made.read_manifest(directory, path.name)
    top = b"models_archive_20260102"
    at = sum(own.placed.total_bytes for own in render_own(top, manifest, render_manifest(manifest)))
    spans = {}
    for entry in manifest.entries:
        total = place_entry(top, entry).total_bytes
        spans[entry.name] = (at, at + total)
        at += total
    result, start = [], 0
    for plain in table.plain:
        result.append({name for name, (first, last) in spans.items() if first < start + plain and last > start})
        start += plain
    return result


def check(made, directory, path, lost, scratch):
    """Verify: exactly these members are lost, and the others come back: the first, the last, and one between."""
    checked = made.verify(directory, path.name, ignore)
    assert not checked.is_whole
    assert set(checked.good) == set(MANY) - lost
    assert {one.name for one in checked.lost if one.name} == lost
    assert all(one.why for one in checked.lost)
    for name in lost:
        with pytest.raises(ArchiveError):
            restore(made, directory, path.name, name, scratch)
    for name in {*checked.good[:1], *checked.good[len(lost) % 3 + 1 :][:1], *checked.good[-1:]}:
        assert restore(made, directory, path.name, name, scratch) == MANY[name]
    return [one.why for one in checked.lost if not one.name]


def cut_tail(path, table):
    os.truncate(path, sum(table.stored))


def put(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("has_tail", [True, False], ids=["table", "no table"])
def test_a_damaged_frame_costs_the_members_in_it(made, archive, directory, tmp_path, has_tail):
    """Each frame in turn, with the table that says where the next one begins and without it."""
    table, held, whole = table_of(made, archive), members_by_frame(made, directory, archive), archive.read_bytes()
    assert len(table) >= 9
    offset = 0
    for number, stored in enumerate(table.stored):
        if not has_tail and number % 2:
            offset += stored
            continue
        archive.write_bytes(whole)
        put(archive, offset + stored // 2, bytes(byte ^ 0x55 for byte in whole[offset + stored // 2 :][:3]))
        if not has_tail:
            cut_tail(archive, table)
        if number == 0 and not has_tail:  # both manifests are gone
            assert made.verify(directory, archive.name, ignore).manifest is None
        else:
            check(made, directory, archive, held[number], tmp_path / "target")
        offset += stored


def test_a_damaged_manifest_costs_nothing(made, archive, directory, tmp_path):
    """The copy at the end serves, also when the archive was renamed since; the answer says so."""
    manifest = made.read_manifest(directory, archive.name)
    put(archive, table_of(made, archive).stored[0] // 2, b"xxx")
    assert any("the one at its end serves" in why for why in check(made, directory, archive, set(), tmp_path / "target"))
    assert made.read_manifest(directory, archive.name) == manifest
    renamed = archive.rename(archive.with_name(f"other.{made.suffix}"))
    check(made, directory, renamed, set(), tmp_path / "target")


def test_a_damaged_table_costs_nothing(made, archive, directory, tmp_path):
    """Wherever it is damaged; members are found without it, and the answer says so."""
    manifest, whole = made.read_manifest(directory, archive.name), archive.read_bytes()
    begin, silent = sum(table_of(made, archive).stored), 0
    places = [*range(begin, begin + 60), *range(begin + 60, len(whole) - 60, 97), *range(len(whole) - 60, len(whole))]
    for at in places:
        put(archive, at, bytes((whole[at] ^ 0x40,)))
        tail = tail_of(made, archive)
        silent += tail is not None
        assert tail is None or parse_manifest(tail.manifest) == manifest
        put(archive, at, whole[at : at + 1])
    assert silent <= 2  # of the copy of the manifest, where a compressor has bits that say nothing
    put(archive, begin + 20, b"xxxx")
    assert any("table at its end" in why for why in check(made, directory, archive, set(), tmp_path / "target"))


def test_every_member_before_the_cut_is_saved(made, archive, directory, tmp_path):
    """A copy that ended early: at the end of each frame, a byte before and a byte after."""
    table, held, whole = table_of(made, archive), members_by_frame(made, directory, archive), archive.read_bytes()
    ends = list(accumulate(table.stored))
    for number, end in enumerate(ends[:-1], 1):
        for cut, kept in ((end, number), (end + 1, number), (ends[number] - 1, number))[number % 2 :]:
            archive.write_bytes(whole[:cut])
            check(made, directory, archive, set().union(*held[kept:]), tmp_path / "target")


def test_bytes_put_in_or_taken_out_cost_what_they_touch(made, archive, directory, tmp_path):
    """Nothing is any more where the table says."""
    table, held, whole = table_of(made, archive), members_by_frame(made, directory, archive), archive.read_bytes()
    at = sum(table.stored[:4]) + 100
    archive.write_bytes(whole[:at] + noise(50_000) + whole[at:])
    check(made, directory, archive, held[4], tmp_path / "target")
    archive.write_bytes(whole[:at] + whole[at + 1000 :])
    check(made, directory, archive, held[4], tmp_path / "target")


def test_a_wrong_length_costs_one_frame(archive, directory, tmp_path):
    """A gzip member that lies about its length, and no table: the next one is found inside of what it claims."""
    made = find_format("tar.gz")
    if archive.suffix != ".gz":
        archive = archive.with_name("models_archive_20260102.tar.gz")
        write(made, directory, lay_out(tmp_path / "again", MANY))
    table, held = table_of(made, archive), members_by_frame(made, directory, archive)
    at = sum(table.stored[:3])
    cut_tail(archive, table)
    put(archive, at + 16, (table.stored[3] + 200_000).to_bytes(4, "little"))
    check(made, directory, archive, held[3], tmp_path / "target")


def test_every_part_of_a_small_archive(made, place, directory, tmp_path):
    """One bit of every fifth byte flipped: what is called good comes back, and an answer without a loss loses nothing."""
    files = {"a.pth": b"weights" * 30, "b.pth": noise(60)}
    name = write(made, directory, lay_out(tmp_path / "models", files)).name
    whole = (place / name).read_bytes()
    silent = 0
    for at in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        (place / name).write_bytes(damaged)
        checked = made.verify(directory, name, ignore)
        silent += checked.is_whole
        for member in checked.good:
            assert restore(made, directory, name, member, tmp_path / "target") == files[member], at
        if checked.is_whole:
            assert checked.good == tuple(files)
    # Some bits of a compressed block say nothing: the file differs then, and all that is in it does not.
    assert silent < len(whole) // 50


def test_what_the_disk_cannot_read_is_damage(made, archive, directory, tmp_path, monkeypatch):
    """A bad sector in the middle, and one at the very end."""
    table, held, size = table_of(made, archive), members_by_frame(made, directory, archive), archive.stat().st_size
    bad = {"at": sum(table.stored[:2]) + 5}
    really = os.pread

    def pread(fd, count, offset):
        if offset <= bad["at"] < offset + count and count < 1 << 24:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really(fd, count, offset)

    monkeypatch.setattr(frames.os, "pread", pread)
    check(made, directory, archive, held[2], tmp_path / "target")
    bad["at"] = size - 1
    check(made, directory, archive, set(), tmp_path / "target")


def test_a_checkpoint_that_holds_a_tar_is_no_second_archive(made, place, directory, tmp_path):
    """Damage before it, and in it headers where a frame begins: they are not taken for members, whatever they are called."""
    fake = Crafted(made.codec(), lay_out(tmp_path / "fake", {"d.pth": MANY["d.pth"], "stranger.pth": noise(900_000)}))
    block = b"".join((fake.member(1), fake.member(1), fake.member(0)))
    # The data of a large member begins behind a header of 512 bytes: this brings headers to the start of its second frame.
    inner = bytes((1 << 20) - 512) + block
    files = {"a.pth": noise(100_000), "inner.pth": inner, "d.pth": MANY["d.pth"]}
    name = write(made, directory, lay_out(tmp_path / "models", files)).name
    table = table_of(made, place / name)
    put(place / name, sum(table.stored[:1]) + 30, b"xxx")  # the first frame of inner.pth
    checked = made.verify(directory, name, ignore)
    assert set(checked.good) == {"a.pth", "d.pth"}
    assert [one.name for one in checked.lost if one.name] == ["inner.pth"]
    for member in checked.good:
        assert restore(made, directory, name, member, tmp_path / "target") == files[member]


def test_zeros_are_no_end(made, place, directory, tmp_path):
    """The last frame of a damaged member is 1,024 zeros, like the end of a tar: what follows is read all the same."""
    files = {"zeros.pth": bytes((1 << 20) + 512), "d.pth": noise(1_100_000)}
    name = write(made, directory, lay_out(tmp_path / "models", files)).name
    table = table_of(made, place / name)
    assert 1024 in table.plain
    put(place / name, sum(table.stored[:1]) + 40, b"xxx")
    assert made.verify(directory, name, ignore).good == ("d.pth",)
    assert restore(made, directory, name, "d.pth", tmp_path / "target") == files["d.pth"]


def test_one_member_is_restored_without_the_others(made, archive, directory, tmp_path):
    """Everything but the start, the end and its own frames is wiped, and it comes back."""
    table, held, whole = table_of(made, archive), members_by_frame(made, directory, archive), archive.read_bytes()
    wiped, offset = bytearray(whole), 0
    for number, stored in enumerate(table.stored):
        if number and "b.pth" not in held[number]:
            wiped[offset : offset + stored] = bytes(stored)
        offset += stored
    archive.write_bytes(wiped)
    assert made.read_manifest(directory, archive.name).entries
    assert restore(made, directory, archive.name, "b.pth", tmp_path / "target") == MANY["b.pth"]


def test_a_member_is_found_when_the_table_leads_astray(made, place, directory, tmp_path):
    """Its sizes are wrong, and its checksum is right: the member is found by reading on from the start."""
    crafted = Crafted(made.codec(), lay_out(tmp_path / "models", MANY))
    right = table_and_frames(crafted)
    name = f"models_archive_20260102.{made.suffix}"
    (place / name).write_bytes(right)
    for member in ("a_metadata.json", "d.pth"):
        assert restore(made, directory, name, member, tmp_path / "target") == MANY[member]


def table_and_frames(crafted):
    """Pack an archive whose table says that each frame holds 512 bytes more than it does."""
    table, stored = frames.Table(), []
    for part in crafted.all():
        for at in range(0, len(part), 1 << 20):
            stored.append(crafted.codec.compress(memoryview(part[at : at + (1 << 20)])))
            table.add(len(stored[-1]), len(part[at : at + (1 << 20)]) + 512)
    return b"".join([*stored, *crafted.codec.render_tail(frames.Tail(table, crafted.rendered))])


def test_a_target_that_is_full(made, archive, directory, tmp_path):
    """Is an error of the target, with its cure, and no damage of the archive."""
    read_only = os.open(archive, os.O_RDONLY)
    try:
        with pytest.raises(ArchiveError, match="restore a file from an archive"):
            made.restore(directory, archive.name, "a.pth", read_only)
    finally:
        os.close(read_only)


def test_an_archive_that_was_packed_anew(place, directory, tmp_path):
    """By a person: what is in it is as good as it was, and ckptd says why it can't read it."""
    (place / "x").mkdir()
    (place / "x" / "a.pth").write_bytes(b"a")
    name = "models_archive_20260102.tar.gz"
    assert os.system(f"tar -C {place} -czf {place / name} x") == 0
    checked = find_format("tar.gz").verify(directory, name, ignore)
    assert (checked.manifest, checked.good) == (None, ())
    assert "packed anew" in checked.lost[0].why
