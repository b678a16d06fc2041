"""The comparer itself: what it must notice, and what it must not."""

from __future__ import annotations

import collections

import pytest
import torch

from tests.corpus import good
from tests.corpus.compare import differences

_BASE = torch.arange(6.0)
_TIED = {"a": _BASE, "b": _BASE[2:]}


def _named(**attributes: object) -> torch.Tensor:
    tensor = torch.ones(2)
    vars(tensor).update(attributes)
    return tensor


def _with_metadata(value: object) -> collections.OrderedDict[str, int]:
    made = collections.OrderedDict(a=1)
    made._metadata = value
    return made


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({}, collections.OrderedDict()),
        (_with_metadata(1), _with_metadata(2)),
        (_with_metadata(1), collections.OrderedDict(a=1)),
        (torch.ones(2), torch.ones(2, dtype=torch.float64)),
        (torch.ones(2), torch.nn.Parameter(torch.ones(2))),
        (torch.ones(2), torch.ones(2, requires_grad=True)),
        (torch.ones(2, 2), torch.ones(2, 2).t().contiguous().t().contiguous().as_strided((2, 2), (1, 2))),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (torch.tensor([float("nan")]), torch.tensor([1.0])),
        (_BASE[1:3], _BASE[1:3].clone()),
        (_TIED, {"a": _BASE, "b": _BASE[2:].clone()}),
        (_TIED, {"a": _BASE.clone(), "b": _BASE[2:]}),
        (_named(note=1), _named(note=2)),
        (_named(note=1), torch.ones(2)),
        (torch.tensor([1j]), torch.tensor([-1j]).conj()),
        (torch.empty(2, device="meta"), torch.empty(2)),
    ],
)
def test_noticed(one, other):
    """Each pair differs in one thing."""
    assert differences(one, other)


def test_shared_lists_are_noticed():
    """One list twice is not two equal lists."""
    inner: list[int] = []
    assert differences([inner, inner], [[], []])
    assert not differences([inner, inner], [[1][:0]] * 2)


@pytest.mark.parametrize("name", ["views", "recursive", "quantized", "sparse", "parameters", "conjugates", "numpy_scalars"])
def test_the_same_file_twice(name, tmp_path):
    """Loaded twice by torch, a file gives equal objects."""
    case = next(case for case in good.cases() if case.name == f"{name}-zip")
    path = case.write(tmp_path)
    once, again = (torch.load(path, weights_only=False) for _ in range(2))
    assert not differences(once, again)
