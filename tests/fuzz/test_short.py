"""A short, seeded run of the fuzzer: the long one is `make fuzz`."""

from __future__ import annotations

import random

from tests.fuzz import run, seeds
from tests.fuzz.mutate import mutate


def test_twenty_thousand_mutations(tmp_path, capsys):
    """Nothing escapes, nothing fails, nothing runs, and what is ok loads as torch.load loads it."""
    status = run.main(["--count", "20000", "--seed", "20261124", "--jobs", "1", "--load-every", "5", "--out", str(tmp_path)])
    assert status == 0, capsys.readouterr().out


def test_a_number_tells_a_mutation(tmp_path):
    """The same seed and number give the same bytes, so that a finding can be made again."""
    files = seeds.gather(str(tmp_path / "canary"), with_torch=False)
    once, again = ([mutate(random.Random(f"1:{i}"), files) for i in range(50)] for _ in range(2))
    assert once == again
    assert len(set(once)) > 45
