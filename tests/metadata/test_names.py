"""What a sidecar is called, and that two checkpoints never want the same last resort."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.metadata.names import own_name, persons_name, sidecar_name, stem_of


@pytest.mark.parametrize(
    ("checkpoint", "siblings", "name"),
    [
        ("model.pth", (), "model_metadata.json"),
        ("model.pth", ("model.pth",), "model_metadata.json"),
        ("model.pth", ("other.pth", "model.json", "model_metadata.json"), "model_metadata.json"),
        ("a.pth", ("a.pth", "a.pt"), "a.pth_metadata.json"),
        ("a.pt", ("a.pth", "a.pt"), "a.pt_metadata.json"),
        ("a.pth", ("a.pth.tar",), "a.pth_metadata.json"),
        ("model.pth.tar", (), "model_metadata.json"),
        ("model.PTH.TAR", (), "model_metadata.json"),
        ("archive.tar", (), "archive_metadata.json"),
        ("v1.2.pth", ("v1.pth",), "v1.2_metadata.json"),
        ("runs/fold0/model.pth", (), "model_metadata.json"),
        ("no-ending", (), "no-ending_metadata.json"),
        (".hidden.pth", (), ".hidden_metadata.json"),
        (".pth", (), ".pth_metadata.json"),
        ("心电图.pth", (), "心电图_metadata.json"),
        ("\udcff.pth", (), "\udcff_metadata.json"),
    ],
)
def test_the_name_of_a_sidecar(checkpoint: str, siblings: tuple[str, ...], name: str) -> None:
    assert sidecar_name(checkpoint, frozenset(siblings)) == name


@pytest.mark.parametrize("model_name", [None, "", "../secret", "a/b", "a\0", "x" * 300, "\ud800"])
def test_a_models_name_that_is_no_file_name_is_not_looked_up(model_name: str | None) -> None:
    assert persons_name(model_name) is None


def test_the_file_that_a_person_keeps_for_a_model() -> None:
    assert persons_name("BiLSTM_Attention") == "BiLSTM_Attention_metadata.json"


@given(st.text(st.sampled_from("ab._pth"), min_size=1), st.text(st.sampled_from("ab._pth"), min_size=1))
def test_law_the_last_resort_of_two_checkpoints_differs(one: str, other: str) -> None:
    assert (own_name(one) == own_name(other)) == (one == other)


@given(st.text(min_size=1))
def test_law_a_stem_is_a_beginning_of_the_name(name: str) -> None:
    assert name.startswith(stem_of(name))
    assert stem_of(name)
