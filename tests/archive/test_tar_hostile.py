"""Archives that somebody made to harm: an answer comes soon, in little memory, and only a member's own bytes come back."""

from __future__ import annotations

import os
import tarfile
from contextlib import suppress

import pytest

from ckptd.archive.formats import find_format
from ckptd.archive.interface import ArchiveError
from ckptd.archive.manifest import MOST_MANIFEST_BYTES
from ckptd.archive.tar.frames import MOST_FRAME_BYTES, Table, Tail
from ckptd.archive.tar.headers import END, Header, render_header
from ckptd.archive.tar.layout import Placed
from ckptd.archive.tar.stream import TarReader
from tests.archive.making import Crafted, bomb_frame, ignore, laid, lay_out, noise, restore

FILES = {"a.pth": b"weights" * 100, "b.pth": noise(3000, 1), "c.pth": b""}
TOP = b"models_archive_20260102"


@pytest.fixture(params=["tar.gz", "tar.zst"])
def made(request):
    return find_format(request.param)


@pytest.fixture
def crafted(made, tmp_path):
    return Crafted(made.codec(), lay_out(tmp_path / "models", FILES))


@pytest.fixture
def judge(made, place, directory, tmp_path):
    """Write bytes as an archive and verify it; what is good comes back, and nothing else than what was put away."""

    def call(data):
        name = f"models_archive_20260102.{made.suffix}"
        (place / name).write_bytes(data)
        checked = made.verify(directory, name, ignore)
        for member in FILES:
            if member in checked.good:
                assert restore(made, directory, name, member, tmp_path / "target") == FILES[member]
            else:
                with suppress(ArchiveError):
                    assert restore(made, directory, name, member, tmp_path / "target") == FILES[member]
        assert os.listdir(place) == [name]
        return checked

    return call


def member(path, data=b"", **changes):
    """Give a member with whatever header."""
    header = Header(path, len(data), 0o640, 0)._replace(**changes)
    return laid(Placed(header, render_header(header)), data)


def odd_header(kind, name="models_archive_20260102/files/a.pth", size=0, link="", pax=None, form=tarfile.GNU_FORMAT):
    """Give the header that Python's tarfile writes for something that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    info.pax_headers = pax or {}
    return info.tobuf(form, "utf-8", "surrogateescape")


def flaws(checked):
    """Give what is wrong beside members, by name."""
    return {one.name: one.why for one in checked.lost}


def test_an_honest_one_is_whole(crafted, judge):
    """What the others are held against."""
    assert judge(crafted.pack(crafted.all())).is_whole


@pytest.mark.parametrize(
    "path",
    [
        b"/etc/cron.d/x",
        TOP + b"/../../../etc/x",
        b"../x",
        TOP + b"/files/../../x",
        TOP + b"/stranger.pth",
        b"other_top/files/a.pth",
        TOP + b"/files/a.pth/x",
        TOP + b"/MANIFEST.json",
        TOP + b"/files/\x1b[2J\n",
        b"",
    ],
)
def test_what_the_manifest_does_not_name_is_reported(crafted, judge, path):
    """Wherever it would be unpacked to; it is never good, and never comes back."""
    own, first, *rest = crafted.all()
    checked = judge(crafted.pack([own, first, member(path, b"stranger"), *rest]))
    assert set(checked.good) == set(FILES)
    assert not checked.is_whole
    assert "not in the manifest" in flaws(checked)[path.decode()]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"V",
        b"M",
        b"\0",
    ],
)
def test_what_is_no_plain_file_is_no_member(crafted, judge, kind):
    """Under the name of one: links, devices, FIFOs, folders, sparse files."""
    own, _, *rest = crafted.all()
    checked = judge(crafted.pack([own, odd_header(kind, link="/etc/passwd"), *rest]))
    assert set(checked.good) == {"b.pth", "c.pth"}
    assert "a.pth" in flaws(checked)


def test_a_link_of_the_size_of_a_member(crafted, judge):
    """No byte of what follows is taken for it."""
    own, _, *rest = crafted.all()
    link = odd_header(tarfile.SYMTYPE, size=len(FILES["a.pth"]), link="b.pth") + FILES["a.pth"] + bytes(1024 - 700)
    assert set(judge(crafted.pack([own, link, *rest])).good) == {"b.pth", "c.pth"}


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"K", b"N", b"D"])
def test_extensions_are_reported(crafted, judge, kind):
    """A record that tells `tar` another name or size than we see: the archive is not whole."""
    own, first, *rest = crafted.all()
    record = b"30 path=models_archive/evil.x\n"
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = kind, len(record)
    pax = info.tobuf(tarfile.GNU_FORMAT) + record + bytes(512 - len(record))
    checked = judge(crafted.pack([own, first, pax, *rest]))
    assert set(checked.good) == set(FILES)
    assert not checked.is_whole


def test_thousands_of_extensions(crafted, judge):
    """Are more than the manifest has room for: the rest is not read."""
    own, first, *rest = crafted.all()
    pax = odd_header(tarfile.REGTYPE, pax={"comment": "x" * 5000}, form=tarfile.PAX_FORMAT)
    checked = judge(crafted.pack([own, first, pax * 16_000, *rest]))
    assert checked.good[0] == "a.pth"
    assert any("more in it than its manifest says" in why for why in flaws(checked).values())
    assert len(checked.lost) < 200


@pytest.mark.parametrize("count", [4500, 8191, 8192, 1 << 20])
def test_long_names_have_an_end(crafted, judge, count):
    """A name of 1 MiB is no name."""
    own, first, *rest = crafted.all()
    checked = judge(crafted.pack([own, first, member(b"n" * count, b"x"), *rest]))
    assert set(checked.good) == set(FILES)
    assert not checked.is_whole
    assert all(len(name) <= 8192 for name in flaws(checked))


def test_a_name_for_a_name(crafted, judge):
    """Long names before long names, of which the last renames a member."""
    own, first, *rest = crafted.all()
    label = render_header(Header(b"n" * 200, 0, 0, 0))[:-512]
    checked = judge(crafted.pack([own, first, label * 3, *rest]))
    assert {"a.pth", "c.pth"} <= set(checked.good)
    assert not checked.is_whole


def test_a_second_member_of_a_name(crafted, judge):
    """The good one stays good; `tar` would take the other one, and the answer says so."""
    own, first, *rest, end = crafted.all()
    for parts in (
        [own, first, crafted.member(0, b"WEIGHTS" * 100), *rest, end],
        [own, crafted.member(0, b"WEIGHTS" * 100), first, *rest, end],
    ):
        checked = judge(crafted.pack(parts))
        assert set(checked.good) == set(FILES)
        assert not checked.is_whole
    checked = judge(crafted.pack([own, first, *rest, first, end]))
    assert "second time" in flaws(checked)["a.pth"]


@pytest.mark.parametrize("size", [0, 699, 701, 1 << 20, 1 << 62])
def test_a_size_that_is_not_that_of_the_manifest(crafted, judge, size):
    """Smaller, larger, without end: the member is lost, and what follows is not."""
    own, _, *rest = crafted.all()
    checked = judge(crafted.pack([own, member(TOP + b"/files/a.pth", FILES["a.pth"], size=size), *rest]))
    assert "a.pth" not in checked.good
    assert set(checked.good) == {"b.pth", "c.pth"}


def test_other_bytes_of_the_same_size(crafted, judge):
    """The digest decides."""
    own, _, *rest = crafted.all()
    checked = judge(crafted.pack([own, crafted.member(0, b"WEIGHTS" * 100), *rest]))
    assert set(checked.good) == {"b.pth", "c.pth"}
    assert "changed after they were written" in flaws(checked)["a.pth"]


@pytest.mark.parametrize("changes", [{"mode": 0o777}, {"mtime": 5}])
def test_a_header_that_says_something_else(crafted, judge, changes):
    """`tar` would set other rights, or another time, than the manifest has."""
    own, _, *rest = crafted.all()
    entry = crafted.manifest.entries[0]
    right = {"mode": entry.mode, "mtime": entry.mtime_ns // 10**9}
    checked = judge(crafted.pack([own, member(TOP + b"/files/a.pth", FILES["a.pth"], **right | changes), *rest]))
    assert set(checked.good) == set(FILES)
    assert not checked.is_whole


def test_sums_that_say_something_else(crafted, judge):
    """Whoever checks with sha256sum must hear the same as we say."""
    _, *rest = crafted.all()
    manifest = member(TOP + b"/MANIFEST.json", crafted.rendered)
    for sums in (b"", member(TOP + b"/SHA256SUMS", b"0" * 64 + b"  files/a.pth\n")):
        checked = judge(crafted.pack([manifest + sums, *rest]))
        assert set(checked.good) == set(FILES)
        assert any("SHA256SUMS" in why for why in flaws(checked).values())


def test_another_manifest_at_the_end(crafted, judge, tmp_path):
    """Who reads only the end must not hear something else than who reads the beginning."""
    other = Crafted(crafted.codec, lay_out(tmp_path / "other", {"a.pth": FILES["a.pth"]}))
    checked = judge(crafted.pack(crafted.all(), manifest=other.rendered))
    assert set(checked.good) == set(FILES)
    assert any("another one" in why for why in flaws(checked).values())


def test_something_behind_the_end(crafted, judge):
    """Two blocks of zeros end a tar; what follows would be hidden."""
    *parts, end = crafted.all()
    for rest in (END, member(TOP + b"/x", b"hidden"), b"x" * 512):
        for behind in ([end, rest], [end + rest]):
            assert not judge(crafted.pack([*parts, *behind])).is_whole
    assert not judge(crafted.pack(parts)).is_whole
    assert not judge(crafted.pack([*parts, bytes(512)])).is_whole


def test_a_bomb_behind_a_stranger(crafted, judge):
    """20 GiB of zeros in 20 MB: reading stops where there is more than the manifest says."""
    own, first, *rest = crafted.all()
    stranger = member(TOP + b"/zeros", size=20 << 30)
    frame = crafted.codec.compress(memoryview(bytes(MOST_FRAME_BYTES)))
    front = crafted.pack([own, first, stranger], tail=False)
    table = Table()
    for part in (own, first, stranger):
        table.add(len(crafted.codec.compress(memoryview(part))), len(part))
    for _ in range(5000):
        table.add(len(frame), MOST_FRAME_BYTES)
    data = front + frame * 5000 + b"".join(crafted.codec.render_tail(Tail(table, crafted.rendered)))
    for bomb in (data, front + frame * 5000):
        checked = judge(bomb)
        assert checked.good[0] == "a.pth"
        assert any("more in it than its manifest says" in why for why in flaws(checked).values())
    assert rest


@pytest.mark.parametrize("count", [MOST_FRAME_BYTES, MOST_FRAME_BYTES + 1, 40_000_000])
def test_a_frame_has_an_end(made, crafted, judge, count):
    """One that unpacks to more than a frame holds is damage."""
    frame = bomb_frame(made, count)
    assert not judge(frame + crafted.pack(crafted.all(), tail=False)).is_whole


def test_a_frame_says_how_long_it_is_and_lies(judge):
    """Sizes that no memory has: of the contents, of a window, of a block."""
    magic = b"\x28\xb5\x2f\xfd"
    for head in (
        b"\xe4" + b"\xff" * 8,
        b"\xc4\xff" + b"\xff" * 8,
        b"\x04\xff",
        b"\x24\x00",
        b"\x04\x00" + b"\xfc\xff\xff" * 100,
    ):
        checked = judge(magic + head + bytes(100))
        assert checked.manifest is None


def test_a_table_of_anything(made, crafted, judge):
    """Of frames that are not there, of none, of sizes that no memory has: no worse than no table."""
    front = crafted.pack(crafted.all(), tail=False)
    for stored, plain in (
        ([0xFFFFFFFF] * 4, [1] * 4),
        ([0] * 10_000 + [len(front)], [7] * 10_001),
        ([len(front)], [0]),
        ([], []),
    ):
        table = Table()
        for pair in zip(stored, plain, strict=True):
            table.add(*pair)
        data = front + b"".join(crafted.codec.render_tail(Tail(table, crafted.rendered)))
        assert not judge(data).is_whole


def test_frames_within_frames(made, judge):
    """A file that begins a frame at every place is not read once for each of them."""
    signature = made.codec().signature
    if made.name == "tar.gz":
        data = (signature + (1 << 20).to_bytes(4, "little")) * 200_000
    else:
        data = (signature + b"\x04\x00" + b"\x01\x00\x10") * 200_000
    assert judge(data).manifest is None


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[" * 100_000, b"\0" * 1000, b'{"ckptd_archive": 1, "entries": []}'])
def test_a_manifest_of_anything(crafted, judge, manifest):
    """The copy at the end serves, or nothing does."""
    parts = [member(TOP + b"/MANIFEST.json", manifest), *crafted.all()[1:]]
    assert set(judge(crafted.pack(parts)).good) == set(FILES)
    assert judge(crafted.pack(parts, tail=False)).manifest is None
    assert judge(crafted.pack(parts, manifest=manifest)).manifest is None


def test_a_manifest_without_an_end(made, judge):
    """It says that it has 1 TiB, or 33 MiB; nothing of it is kept."""
    codec = made.codec()
    for size in (1 << 40, MOST_MANIFEST_BYTES + 1):
        head = codec.compress(memoryview(member(TOP + b"/MANIFEST.json", size=size)))
        checked = judge(head + codec.compress(memoryview(bytes(MOST_FRAME_BYTES))) * 50)
        assert checked.manifest is None
        assert "too long" in checked.lost[0].why


def test_a_member_of_a_petabyte(made, place, directory, tmp_path):
    """Of zeros, as its manifest says: it is not begun, and the disk of the target is not filled."""
    (member_,) = lay_out(tmp_path / "models", {"a.pth": b""})
    large = member_.__class__(*(member_.name, member_.what, member_.open, 1 << 50, member_.sha256, member_.mtime_ns))
    crafted = Crafted(made.codec(), [large])
    frame = crafted.codec.compress(memoryview(bytes(MOST_FRAME_BYTES)))
    name = f"models_archive_20260102.{made.suffix}"
    (place / name).write_bytes(crafted.pack([crafted.own(), crafted.member(0)], tail=False) + frame * 100)
    assert made.read_manifest(directory, name).entries[0].size_bytes == 1 << 50
    with pytest.raises(ArchiveError, match=r"1\.0 PiB.* are free"):
        restore(made, directory, name, "a.pth", tmp_path / "target")


def test_no_mutation_escapes(made, crafted, judge):
    """Runs of bytes put in, taken out, doubled, wherever a seed says: an answer each time, and never another error."""
    whole = crafted.pack(crafted.all())
    for seed in range(90):
        first, second = sorted(int.from_bytes(noise(4, seed * 7 + add), "little") % len(whole) for add in (1, 2))
        cut = whole[first:second]
        mutated = (
            whole[:first] + whole[second:],
            whole[:second] + cut + whole[second:],
            whole[:first] + noise(second - first, seed) + whole[second:],
        )[seed % 3]
        if mutated != whole:
            judge(mutated)


def test_a_reader_closes_what_it_began(made, crafted):
    """Frames that were read ahead are let go when the reading ends early."""
    closed = []

    def pieces():
        try:
            while True:
                yield None
        finally:
            closed.append(True)

    generator = pieces()
    next(generator)
    with TarReader(generator, 0):
        assert not closed
    assert closed
