"""Frames: what goes in comes out, or damage is said; and a table finds every one of them."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.archive.formats import find_format
from ckptd.archive.tar.frames import (
    FRAME_BYTES,
    MOST_FRAME_BYTES,
    DamageError,
    Frame,
    Table,
    Tail,
    read_table,
    render_table,
    thread_count,
)
from ckptd.archive.tar.gzipped import GzipFrames
from tests.archive.making import bomb_frame, noise


@pytest.fixture(params=["tar.gz", "tar.zst"])
def made(request):
    return find_format(request.param)


@pytest.fixture
def codec(made):
    return made.codec()


@pytest.mark.parametrize(
    "plain",
    [b"", b"x", bytes(FRAME_BYTES), noise(FRAME_BYTES), b"weights" * 100_000, noise(300_000) * 3],
    ids=["nothing", "a byte", "zeros", "noise", "near repeats", "far repeats"],
)
def test_what_goes_in_comes_out(codec, tmp_path, plain):
    """And a frame says how long it is."""
    stored = codec.compress(memoryview(plain))
    assert codec.decompress(stored) == plain
    assert stored.startswith(codec.signature)
    (tmp_path / "f").write_bytes(b"before" + stored + b"behind")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        assert codec.length_at(fd, 6) == len(stored)
        assert codec.length_at(fd, 5) is None
        assert codec.length_at(fd, 6 + len(stored)) is None
        assert codec.length_at(fd, 1 << 40) is None
    finally:
        os.close(fd)


def test_repeats_are_found_far_and_near():
    """How far the gzip codec looks depends on what is there: a repeat beyond 512 bytes is not lost where it counts."""
    row = noise(4096)
    assert len(GzipFrames().compress(memoryview(row * 256))) < 400_000
    assert len(GzipFrames().compress(memoryview(noise(256) * 4096))) < 50_000


def test_a_flipped_bit_is_damage_or_nothing(codec):
    """In every byte of a frame: what comes out is what went in, or nothing comes out."""
    plain = b"weights" * 20 + noise(60)
    stored = codec.compress(memoryview(plain))
    silent = 0
    for at in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[at // 8] ^= 1 << at % 8
        try:
            assert codec.decompress(bytes(damaged)) == plain
            silent += 1
        except DamageError:
            continue
    assert silent < len(stored) // 4


def test_a_head_that_gunzip_refuses_is_damage():
    """Although all data could be had: the archive has to be readable without us."""
    stored = GzipFrames().compress(memoryview(b"weights"))
    for at in range(20):
        damaged = bytearray(stored)
        damaged[at] ^= 1
        with pytest.raises(DamageError):
            GzipFrames().decompress(bytes(damaged))


def test_a_frame_that_is_cut_is_damage(codec):
    """After each byte of it, and with something behind it."""
    stored = codec.compress(memoryview(b"weights" * 20))
    for end in range(len(stored)):
        with pytest.raises(DamageError):
            codec.decompress(stored[:end])
        if isinstance(codec, GzipFrames) and end > 20:  # a head that fits to it
            with pytest.raises(DamageError):
                codec.decompress(codec.signature + end.to_bytes(4, "little") + stored[20:end])
    with pytest.raises(DamageError):
        codec.decompress(stored + b"x")
    if isinstance(codec, GzipFrames):
        with pytest.raises(DamageError):
            codec.decompress(codec.signature + (len(stored) + 1).to_bytes(4, "little") + stored[20:] + b"x")


def test_a_frame_has_an_end(made, codec):
    """One that unpacks to more than a frame may hold is damage, and costs no more memory than an honest one."""
    assert len(codec.decompress(bomb_frame(made, MOST_FRAME_BYTES))) == MOST_FRAME_BYTES
    with pytest.raises(DamageError):
        codec.decompress(bomb_frame(made, MOST_FRAME_BYTES + 1))
    bomb = bomb_frame(made, 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DamageError):
            codec.decompress(bomb)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 1 << 22), st.integers(1, 1 << 20)), min_size=1, max_size=30), st.data())
def test_a_table_finds_every_place(sizes, data):
    """The frame of a place of the tar begins there or before it, and the next one behind it."""
    table = Table()
    for stored, plain in sizes:
        table.add(stored, plain)
    total = sum(plain for _, plain in sizes)
    place = data.draw(st.integers(0, total - 1))
    before, frames = table.from_place(place)
    found = list(frames)
    number = len(sizes) - len(found)
    assert sum(plain for _, plain in sizes[:number]) + before == place
    assert before < sizes[number][1]
    assert found == list(table.from_first())[number:]
    assert found[0] == Frame(sum(stored for stored, _ in sizes[:number]), sizes[number][0])
    again = read_table(render_table(table))
    assert (again.stored, again.plain) == (table.stored, table.plain)
    assert len(render_table(table)) == 8 * len(table)


@pytest.mark.parametrize("count", [0, 1, 8190, 20_000])
def test_a_tail_is_read_back(codec, tmp_path, count):
    """However many pieces it takes: frames, and a manifest of any length."""
    table = Table()
    for number in range(count):
        table.add(1 + number % 7, number)
    manifest = b"{}" + noise(count * 5)
    front = bytes(sum(table.stored))
    path = tmp_path / "f"
    path.write_bytes(front + b"".join(codec.render_tail(Tail(table, manifest))))
    fd = os.open(path, os.O_RDONLY)
    try:
        read = codec.read_tail(fd, path.stat().st_size)
        assert read is not None
        assert read.manifest == manifest
        assert (read.table.stored, read.table.plain) == (table.stored, table.plain)
        for size in (0, 1, 20, path.stat().st_size - 1):
            assert codec.read_tail(fd, size) is None
        path.write_bytes(b"x" + path.read_bytes())  # nothing is where the table says any more
        assert codec.read_tail(fd, path.stat().st_size) is None
    finally:
        os.close(fd)


def test_there_is_a_thread_for_each_core():
    """Of those that this process may use, and not for each of a very large machine."""
    allowed = os.sched_getaffinity(0)
    assert thread_count() == min(len(allowed), 8)
    os.sched_setaffinity(0, [min(allowed)])
    try:
        assert thread_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)
