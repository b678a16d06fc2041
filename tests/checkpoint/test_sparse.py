"""Indices of sparse tensors are values: each rule about them, and torch's own verdict beside ours."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.inspection import inspect_path
from ckptd.checkpoint.reader import read_source
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.sparse import check_sparse
from ckptd.errors import CkptdError
from ckptd.loading.load import load
from ckptd.model import Status

warnings.filterwarnings("ignore", message="Sparse")


def _coo(indices: list[list[int]], shape: tuple[int, ...], *, coalesced: bool | None = None) -> torch.Tensor:
    held = torch.tensor(indices, dtype=torch.int64).reshape(len(shape), -1)
    return torch.sparse_coo_tensor(held, torch.ones(held.shape[1]), shape, is_coalesced=coalesced, check_invariants=False)


def _csr(
    starts: list[int], columns: list[int], shape: tuple[int, int], layout: torch.layout = torch.sparse_csr
) -> torch.Tensor:
    parts = (torch.tensor(starts), torch.tensor(columns, dtype=torch.int64), torch.ones(len(columns)))
    return torch.sparse_compressed_tensor(*parts, shape, layout=layout, check_invariants=False)


_GOOD = {
    "coo": _coo([[0, 2], [1, 0]], (3, 2)),
    "coo twice": _coo([[1, 1], [1, 1]], (3, 2)),
    "coo coalesced": _coo([[0, 2], [1, 0]], (3, 2), coalesced=True),
    "coo empty": _coo([[], []], (3, 2)),
    "csr": _csr([0, 1, 1, 3], [1, 0, 1], (3, 2)),
    "csc": _csr([0, 1, 3], [2, 0, 1], (3, 2), torch.sparse_csc),
    "csr of 32 bits": torch.eye(3).to_sparse_csr().to(torch.float64),
    "bsr": torch.eye(4).to_sparse_bsr((2, 2)),
    "bsc": torch.eye(4).to_sparse_bsc((2, 2)),
    "csr, batches": torch.eye(3).expand(2, 3, 3).to_sparse_csr(),
    "hybrid": torch.ones(3, 2).to_sparse(1),
}
_BAD = {
    "coo beyond": _coo([[0, 3], [1, 0]], (3, 2)),
    "coo below": _coo([[0, -1], [1, 0]], (3, 2)),
    "coo not coalesced": _coo([[2, 0], [1, 0]], (3, 2), coalesced=True),
    "coo coalesced twice": _coo([[2, 2], [1, 1]], (3, 2), coalesced=True),
    "csr beyond": _csr([0, 1, 1, 3], [1, 0, 2], (3, 2)),
    "csr twice": _csr([0, 1, 1, 3], [1, 1, 1], (3, 2)),
    "csr backward": _csr([0, 2, 1, 3], [0, 1, 1], (3, 2)),
    "csr ends early": _csr([0, 1, 1, 2], [1, 0, 1], (3, 2)),
    "csr begins late": _csr([1, 1, 1, 3], [1, 0, 1], (3, 2)),
    "csr, too few lines": _csr([0, 1, 3], [1, 0, 1], (3, 2)),
}


def _saved(tensor: torch.Tensor, tmp_path: Path) -> Path:
    torch.save({"s": tensor}, tmp_path / "x.pth")
    return tmp_path / "x.pth"


@pytest.mark.parametrize("name", _GOOD)
def test_what_torch_makes_is_ok(name, tmp_path):
    """Every layout that torch saves, and it loads."""
    path = _saved(_GOOD[name], tmp_path)
    assert inspect_path(path).status is Status.OK
    assert torch.equal(load(path)["s"].to_dense(), _GOOD[name].to_dense())


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_index_is_damage_with_a_name(name, tmp_path):
    """And torch would not build it either, when asked to look."""
    path = _saved(_BAD[name], tmp_path)
    found = inspect_path(path)
    assert found.status is Status.DAMAGED
    assert found.findings[0].tensors == ("s",)
    with pytest.raises(CkptdError):
        load(path)


_DIMS = st.integers(1, 3)


@given(rows=_DIMS, columns=_DIMS, starts=st.lists(st.integers(-1, 4), min_size=1, max_size=5), data=st.data())
@settings(max_examples=150, deadline=None)
def test_our_verdict_is_that_of_torch(rows, columns, starts, data, tmp_path_factory):
    """Any compressed matrix: ok means that torch's own check takes it, and the other way round."""
    indices = data.draw(st.lists(st.integers(-1, 3), max_size=5))
    try:
        made = _csr(starts, indices, (rows, columns))
    except RuntimeError:
        return  # torch does not even hold it
    path = _saved(made, tmp_path_factory.mktemp("sparse"))
    try:
        torch._validate_sparse_csr_tensor_args(made.crow_indices(), made.col_indices(), made.values(), made.shape)
        right = True
    except RuntimeError:
        right = False
    assert (inspect_path(path).status is Status.OK) is right


def test_indices_beyond_their_storage_are_damage(tmp_path):
    """A storage that is too short for the indices is a finding by name, whatever else is found."""
    path = _saved(_coo([[0, 1], [1, 0]], (3, 2), coalesced=True), tmp_path)
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size, 1 << 20)
        structure = read_source(source)
        key, span = next((key, span) for key, span in structure.storages.items() if span.length == 32)
        shorter = replace(structure, storages={**structure.storages, key: span._replace(length=16)})
        assert [(one.code, one.tensors) for one in check_sparse(source, shorter)] == [("tensor-out-of-bounds", ("s",))]


def test_indices_have_a_budget(tmp_path):
    """Beyond it nothing is promised, and nothing is called damaged."""
    path = _saved(_GOOD["coo"], tmp_path)
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size, 1 << 20)
        structure = read_source(source)
        assert [one.code for one in check_sparse(source, structure, replace(BUDGETS, index_elements=3))] == ["not-rebuilt"]
        assert not list(check_sparse(source, structure, replace(BUDGETS, index_elements=4)))
