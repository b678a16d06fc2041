"""Objects come back as they were, compressed where that gains something, and chunks that are not ours are refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.archive.pack import codec
from ckptd.archive.pack.codec import BLOSC2, STORED, Way, choose_way, decode, encode
from ckptd.archive.pack.sizes import BLOCK_BYTES
from ckptd.archive.pack.trouble import DamageError
from tests.archive.pack.packing import make_bytes, make_numbers


def _round_trip(raw: bytes, way: Way) -> codec.Stored:
    stored = encode(memoryview(raw), way)
    again = bytearray(len(raw))
    decode(stored.codec, memoryview(stored.data), memoryview(again))
    assert again == raw
    return stored


@pytest.mark.parametrize("way", codec._WAYS)
def test_every_length_comes_back(way: Way) -> None:
    """Also no multiples of elements or blocks, of which the library loses the last bytes when it is asked wrongly."""
    numbers = make_numbers(1, BLOCK_BYTES // 2)
    for length in [*range(1, 140), 4095, 4097, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES - 3]:
        for raw in (numbers[:length], (b"abcd" * length)[:length], bytes(length), b"\7" * length, make_bytes(length, length)):
            _round_trip(raw, way)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(min_size=1, max_size=3_000), st.sampled_from(codec._WAYS), st.integers(1, 60))
def test_any_bytes_come_back(raw: bytes, way: Way, times: int) -> None:
    _round_trip(raw * times, way)


@pytest.mark.parametrize(
    ("raw", "wanted", "most"),
    [
        (make_numbers(1, 200_000), {Way(1, 4), Way(1, 8)}, 0.87),
        ((np.frombuffer(make_numbers(1, 200_000), "f4") > 0).tobytes(), {Way(2, 4)}, 0.14),
        (np.frombuffer(make_numbers(1, 200_000), "f4").astype("f2").tobytes(), {Way(1, 2)}, 0.86),
        (np.frombuffer(make_numbers(1, 200_000), "f4").astype("f8").tobytes(), {Way(1, 8)}, 0.45),
        (np.arange(100_000).tobytes(), {Way(1, 8), Way(1, 4), Way(2, 4)}, 0.02),
        (b"It is what it is. " * 5_000, {Way(0, 1)}, 0.02),
        (bytes(100_000), set(codec._WAYS), 0.01),
    ],
)
def test_sample_finds_what_the_bytes_are(raw: bytes, wanted: set[Way], most: float) -> None:
    """Weights of 4, 2 and 8 bytes, a mask, indices, text, zeros."""
    way = choose_way(memoryview(raw))
    assert way in wanted
    assert len(_round_trip(raw, way).data) <= most * len(raw)


def test_noise_is_stored_as_it_is() -> None:
    raw = make_bytes(1, 100_000)
    stored = _round_trip(raw, choose_way(memoryview(raw)))
    assert stored.codec == STORED
    assert stored.data == raw


def test_nothing_becomes_longer() -> None:
    for length in range(1, 300):
        raw = make_bytes(length, length)
        assert len(encode(memoryview(raw), choose_way(memoryview(raw))).data) <= length


@pytest.fixture
def chunk() -> bytearray:
    stored = encode(memoryview(make_numbers(1, 300_000)), Way(1, 4))
    assert stored.codec == BLOSC2
    return bytearray(stored.data)


def _refuses(data: bytes | bytearray, length: int = 1_200_000) -> bool:
    """Say whether the decoder refuses it, and before the library sees it."""
    try:
        decode(BLOSC2, memoryview(data), memoryview(bytearray(length)))
    except DamageError:
        return not codec._is_ours(memoryview(data), length)
    return False


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        *((0, 4), (0, 6), (1, 2), (2, 0x87), (2, 0x25), (2, 0x05), (3, 0), (3, 9), (16, 3), (17, 1), (21, 2), (22, 1)),
        *((23, 1), (24, 1), (29, 255), (30, 1), (31, 0x08), (31, 0x10), (31, 0x20), (31, 0x40)),
    ],
)
def test_chunks_with_another_head_are_refused(chunk: bytearray, offset: int, value: int) -> None:
    """Versions, codecs, filters, lazy chunks, special values: what is never written here never reaches the library."""
    chunk[offset] = value
    assert _refuses(chunk)


@pytest.mark.parametrize("value", [0, 1, 31, 1 << 16, 1_199_999, 1_200_001, 1 << 30, -1, -(1 << 31)])
@pytest.mark.parametrize("offset", [4, 8, 12])
def test_chunks_with_other_lengths_are_refused(chunk: bytearray, offset: int, value: int) -> None:
    """Of the contents, of a block, of the chunk.  The library would write as many bytes as the chunk says."""
    chunk[offset : offset + 4] = value.to_bytes(4, "little", signed=True)
    assert _refuses(chunk)


def test_chunk_of_another_length_than_the_object(chunk: bytearray) -> None:
    assert _refuses(chunk, 1_199_996)
    assert _refuses(chunk, 1_200_004)
    assert _refuses(chunk[:-1])
    assert _refuses(chunk + b"x")
    assert _refuses(chunk[:31])
    assert not _refuses(chunk)


@pytest.mark.parametrize("value", [0, 31, 40, 1 << 20, -1, (1 << 31) - 1])
def test_blocks_that_lie_outside_are_refused(chunk: bytearray, value: int) -> None:
    chunk[36:40] = value.to_bytes(4, "little", signed=True)
    assert _refuses(chunk)


def test_streams_that_end_outside_are_refused(chunk: bytearray) -> None:
    """The last of the streams of the first block: their lengths are followed one by one."""
    at = int.from_bytes(chunk[32:36], "little")
    for _ in range(3):
        at += 4 + int.from_bytes(chunk[at : at + 4], "little", signed=True)
    chunk[at : at + 4] = (1 << 30).to_bytes(4, "little")
    assert _refuses(chunk)


@pytest.mark.parametrize(("block", "raw"), [(2_001, b"\7" * 2_001), (33, b"\7" * 33), (1_024, make_numbers(1, 300_000))])
def test_chunks_with_odd_or_tiny_blocks_are_refused(block: int, raw: bytes) -> None:
    """Of a block that is no multiple of the elements the library loses bytes; a million blocks are nothing that we write."""
    import blosc2

    filters = {"filters": [blosc2.Filter.SHUFFLE], "filters_meta": [0], "codec": blosc2.Codec.ZSTD, "clevel": 1, "nthreads": 1}
    split = blosc2.SplitMode.ALWAYS_SPLIT
    assert _refuses(blosc2.compress2(raw, typesize=4, blocksize=block, splitmode=split, **filters), len(raw))


@pytest.mark.parametrize("length", [40_001, 40_002, 40_003, 40_004, 40_007])
def test_odd_lengths_are_compressed_as_well(length: int) -> None:
    raw = make_numbers(1, 20_000)[:length]
    for way in codec._WAYS[:-1]:
        assert _round_trip(raw, way).codec == BLOSC2


def test_other_codecs_are_refused() -> None:
    for number in (2, 255):
        with pytest.raises(DamageError):
            decode(number, memoryview(b"1234"), memoryview(bytearray(4)))
    with pytest.raises(DamageError):
        decode(STORED, memoryview(b"12345"), memoryview(bytearray(4)))


def test_short_reader_without_the_library(chunk: bytearray) -> None:
    """What docs/pack.md says is enough to read a chunk: heads, streams of zstd, and the shuffle undone."""
    import zstandard

    from tests.archive.pack.reading_alone import read_chunk

    assert read_chunk(bytes(chunk), zstandard.ZstdDecompressor()) == make_numbers(1, 300_000)
    rng = random.Random(1)
    for way in codec._WAYS:
        for length in (rng.randrange(100, 5_000), 600_001, 1_048_576):
            for raw in (make_numbers(2, length // 4 + 1)[:length], bytes(length), (b"ab" * length)[:length]):
                stored = encode(memoryview(raw), way)
                if stored.codec == BLOSC2:
                    assert read_chunk(bytes(stored.data), zstandard.ZstdDecompressor()) == raw, (way, length)
