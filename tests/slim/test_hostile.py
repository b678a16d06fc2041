"""The hostile corpus and bent checkpoints: refused in words, or proven; never anything else."""

from __future__ import annotations

import io
import random
import warnings

import pytest

from ckptd.slim.refusal import SlimError
from tests.corpus import hostile, oddities
from tests.corpus.compare import differences
from tests.fuzz.mutate import _pickle_inside
from tests.slim.slimmed import slim

#: Larger bombs only take long: the reader refuses them before anything of this room looks at them.
_MOST_BYTES = 512 << 10


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every hostile and every strange file."""
    directory = tmp_path_factory.mktemp("hostile")
    canary = directory / "canary"
    cases = [*hostile.cases(str(canary)), *oddities.cases()]
    written = [(case, case.write(directory)) for case in cases]
    return canary, [(case, path) for case, path in written if path.stat().st_size <= _MOST_BYTES]


def test_no_hostile_file_becomes_a_smaller_one(written, tmp_path):
    """Each is refused with a sentence, nothing runs, and nothing is left."""
    canary, cases = written
    for case, path in cases:
        with pytest.raises(SlimError) as told:
            slim(path, tmp_path / "b.pth")
        assert str(told.value).isprintable(), case.name
        assert (tmp_path / "b.pth").stat().st_size == 0, case.name
    assert not canary.exists()


def test_bent_checkpoints(tmp_path):
    """Every mutation is refused, or torch loads of the smaller file what it loads of the bent one."""
    import torch

    from tests.corpus import objects

    warnings.simplefilter("ignore")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    ring: list[object] = [1]
    ring.append((ring,))
    values = [
        {
            "optimizer": {**optimizer.state_dict(), "ring": ring},
            "model": model.state_dict(),
            "words": ["0", "cpu"],
            "ring": ring,
        },
        {"parameters": objects.parameters(), "model": model.state_dict(), "optimizer": optimizer.state_dict()},
    ]
    seeds = []
    for value in values:
        for options in ({}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}):
            held = io.BytesIO()
            torch.save(value, held, **options)
            seeds.append(held.getvalue())
    made = 0
    for number in range(500):
        rng = random.Random(f"slim:{number}")
        (tmp_path / "a.pth").write_bytes(_pickle_inside(rng, rng.choice(seeds), seeds))
        try:
            found = slim(tmp_path / "a.pth", tmp_path / "b.pth")
        except SlimError:
            continue
        made += 1
        try:
            whole = torch.load(tmp_path / "a.pth", weights_only=True)
        except Exception:  # torch refuses what ckptd reads: names of numpy, other protocols
            continue
        left = torch.load(tmp_path / "b.pth", weights_only=True)
        for name in found.dropped:
            del whole[name]
        assert differences(whole, left) == [], number
    assert made > 10
