"""One pass over the bytes: digest, CRCs and health are right wherever the pieces happen to be cut."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import zlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.contents import Span
from ckptd.checkpoint.health import make_meter
from ckptd.checkpoint.passing import Run, pass_over
from ckptd.checkpoint.source import ChangedError, Source

_SMALL_CHUNKS = replace(BUDGETS, whole_bytes=0, chunk_bytes=4_096)


def _source(data: bytes, tmp_path, whole_bytes: int) -> Source:
    path = tmp_path / "x"
    path.write_bytes(data)
    return Source(os.open(path, os.O_RDONLY), len(data), whole_bytes)


@pytest.mark.parametrize("whole_bytes", [0, 1 << 20])
def test_digest_and_crcs(whole_bytes, tmp_path):
    """Runs that begin and end anywhere, empty ones too, get the CRC of just their bytes, and the digest is of all."""
    random.seed(3)
    data = random.randbytes(50_000)
    cuts = sorted(random.sample(range(len(data)), 40))
    runs = [Run(str(n), Span(a, b - a, zlib.crc32(data[a:b]))) for n, (a, b) in enumerate(pairwise(cuts)) if n % 3]
    runs.append(Run("empty", Span(cuts[5], 0, 0)))
    random.shuffle(runs)
    wrong = Run("wrong", Span(0, cuts[0], 1))
    digest = pass_over(_source(data, tmp_path, whole_bytes), [*runs, wrong], _SMALL_CHUNKS)
    assert digest == hashlib.sha256(data).hexdigest()
    assert [run.name for run in [*runs, wrong] if run.is_damaged] == ["wrong"]


def test_values_that_are_cut_in_two(tmp_path):
    """Elements that lie across the border of two buffers are seen once, whole."""
    values = np.arange(-9_000, 9_000, dtype=np.float64)
    data = b"xyz" + values.tobytes()
    run = Run("w", Span(3, values.nbytes, None), make_meter("float64"))
    seen: list[int] = []
    pass_over(_source(data, tmp_path, 0), [run], _SMALL_CHUNKS, seen.append)
    assert run.meter is not None
    health = run.meter.health
    assert (health.minimum, health.maximum, health.nan) == (-9_000, 8_999, 0)
    assert health.norm == pytest.approx(float(np.linalg.norm(values)), rel=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == len(data)


def test_runs_that_overlap_are_left_out(tmp_path):
    """Bytes belong to one run; the second one is no damage, it is another finding."""
    data = bytes(9_000)
    first, second = Run("a", Span(0, 6_000, zlib.crc32(bytes(6_000)))), Run("b", Span(5_000, 100, 77))
    pass_over(_source(data, tmp_path, 0), [second, first], _SMALL_CHUNKS)
    assert not first.is_damaged
    assert not second.is_damaged


def test_a_file_that_shrinks(tmp_path):
    """A file that ends before its size says so instead of waiting."""
    source = _source(bytes(100_000), tmp_path, 0)
    os.truncate(tmp_path / "x", 50_000)
    with pytest.raises(ChangedError):
        pass_over(source, [], _SMALL_CHUNKS)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 400 MB passes through a few MB."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(400 << 20)
    source = Source(os.open(path, os.O_RDONLY), 400 << 20, BUDGETS.whole_bytes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pass_over(source, [Run("w", Span(0, 400 << 20, None), make_meter("float32"))])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_what_goes_wrong_beside_the_reading_goes_wrong(tmp_path):
    """A meter that fails in its own thread fails the pass, and nobody waits for ever."""

    class Broken:
        def feed(self, _data):
            raise MemoryError

    source = _source(bytes(100_000), tmp_path, 0)
    with pytest.raises(MemoryError):
        pass_over(source, [Run("w", Span(0, 90_000, None), Broken())], _SMALL_CHUNKS)
