"""What exports need, looked at before somebody misses them."""

from __future__ import annotations

import pytest

from ckptd.jobs.checks import Patient
from ckptd.jobs.doctoring_exports import check_exports
from ckptd.settings import load_settings


def checks(tmp_path, **settings):
    loaded = load_settings(None, {"roots": [str(tmp_path)], **settings}, {})
    return {check.name: check for check in check_exports(Patient(loaded, tmp_path / ".ckptd", "index.sqlite", 0.0))}


def test_nothing_is_said_where_nothing_is_exported(tmp_path):
    """Who exports nothing needs nothing."""
    assert checks(tmp_path) == {}


def test_all_is_well(tmp_path):
    """The walls stand, the directory is one's own, the recipe's callable is there."""
    (tmp_path / "nets.py").write_text("def net(): ...")
    found = checks(
        tmp_path,
        export={"targets": ["safetensors"]},
        trust={"directories": [str(tmp_path)]},
        recipe=[{"match": "*", "callable": "nets:net"}],
    )
    assert [check.message for check in found.values() if not check.ok] == []
    assert "landlock" in found["export sandbox"].message


def test_a_directory_that_others_can_write_to_is_named_with_its_cure(tmp_path):
    """The reason why every export of a module would be unavailable."""
    code = tmp_path / "code"
    code.mkdir()
    code.chmod(0o777)
    found = checks(tmp_path, trust={"directories": [str(code)]})
    (check,) = [check for name, check in found.items() if name.startswith("trust.directories")]
    assert not check.ok
    assert "chmod" in check.cure


@pytest.mark.parametrize("callable_", ["nowhere:net", "os:system"])
def test_a_recipe_that_cannot_be_used_is_named(tmp_path, callable_):
    """It is not there, or not trusted; the cure says which setting it takes."""
    found = checks(tmp_path, recipe=[{"match": "Net_*", "callable": callable_}])
    assert not found["recipe Net_*"].ok
    assert "trust." in found["recipe Net_*"].cure
