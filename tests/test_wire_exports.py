"""Exports and recipes as JSON and back: what we write comes back, and nothing else is believed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import WorkerError
from ckptd.proof import Export, InputSpec, Maker, Recipe, Verdict
from ckptd.wire_exports import (
    MAX_PROOF_BYTES,
    export_from_json,
    export_to_json,
    fit_proof,
    recipe_from_json,
    recipe_to_json,
)

EXPORT = Export(
    target="onnx",
    verdict=Verdict.VERIFIED,
    source_sha256="a" * 64,
    settings_digest="b" * 64,
    recipe_digest="c" * 64,
    file="a.onnx",
    sha256="d" * 64,
    size_bytes=1_100,
    identity=(2**64 - 1, 2**63, 1_100, -5, 7),
    at=1_760_000_000.25,
    proof={"opset": 18, "outputs": [{"name": "output", "max_abs": 1e-7}]},
)
RECIPE = Recipe(
    Maker.FUNCTION,
    "function: f.json",
    "models:Net",
    {"hidden": 32, "layers": [1, 2], "name": "x"},
    (InputSpec("x", ("batch", 3, "time")), InputSpec("ids", (1, 8), "int64", 100)),
    ("logits",),
    "e" * 64,
    "def create_model(): ...",
    ("/srv/code",),
    is_exact=True,
    classes=("models.Net",),
)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=30,
)


def over_the_wire(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("export", [EXPORT, Export("pt2", Verdict.UNAVAILABLE, "a" * 64, "b" * 64, reason="no recipe")])
def test_an_export_comes_back(export):
    """Every field, with unsigned numbers of devices and without a file."""
    assert export_from_json(over_the_wire(export_to_json(export))) == export


def test_a_recipe_comes_back_with_its_digest():
    """And a recipe of nothing but defaults."""
    for recipe in (RECIPE, Recipe(Maker.MODULE, "file")):
        again = recipe_from_json(over_the_wire(recipe_to_json(recipe)))
        assert (again, again.digest) == (recipe, recipe.digest)


BAD_EXPORTS = {
    "target": [None, 3, "x" * 20_000],
    "verdict": ["good", None, 1],
    "source_sha256": [None, "a" * 63, "A" * 64],
    "settings_digest": [None, ""],
    "recipe_digest": [7, "g" * 64],
    "file": ["../a.onnx", "/etc/passwd", "..", "", "a\0b", "x" * 256, 7],
    "sha256": ["", 1],
    "size_bytes": [-1, 2**63, 1.5, True],
    "identity": [[1, 2, 3, 4, 5], {"dev": 1}, {"dev": -1, "ino": 1, "size_bytes": 1, "mtime_ns": 1, "ctime_ns": 1}],
    "reason": [None, "x" * 20_000],
    "at": ["now", float("nan"), None],
    "proof": [None, [], {"x": float("inf")}, {"x": 2**63}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_EXPORTS.items() for value in values])
def test_a_forged_export_is_refused_by_the_name_of_its_key(key, value):
    """Whatever else is right."""
    with pytest.raises(WorkerError):
        export_from_json({**export_to_json(EXPORT), key: value})


BAD_RECIPES = {
    "maker": ["eval", None],
    "origin": [None],
    "callable": [7],
    "hyperparameters": [None, [1]],
    "inputs": [
        None,
        [{}],
        [{"name": "x", "shape": [-1], "dtype": "float32"}],
        [{"name": "x", "shape": [1] * 65, "dtype": "f"}],
    ],
    "outputs": [[1], "x"],
    "code_sha256": ["x"],
    "training_code": [7, "x" * ((1 << 20) + 1)],
    "directories": [[None]],
    "is_exact": [1, None],
    "classes": [["x"] * 101],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_RECIPES.items() for value in values])
def test_a_forged_recipe_is_refused(key, value):
    """Whatever else is right."""
    with pytest.raises(WorkerError):
        recipe_from_json({**recipe_to_json(RECIPE), key: value})


@pytest.mark.parametrize("read", [export_from_json, recipe_from_json])
@pytest.mark.parametrize("value", [None, [], {}, "x", 7])
def test_another_shape_is_refused(read, value):
    """And so are a missing key and one too many."""
    with pytest.raises(WorkerError):
        read(value)
    for whole in (export_to_json(EXPORT), recipe_to_json(RECIPE)):
        with pytest.raises(WorkerError):
            read({**whole, "more": 1})


@given(st.dictionaries(st.text(max_size=20), plain, max_size=20), st.integers(20, 2_000))
def test_a_proof_always_fits(proof, most):
    """It is as it was where there is room, and says so where it was cut."""
    fitted = fit_proof(proof, most)
    assert len(json.dumps(fitted, separators=(",", ":"))) <= most
    whole = len(json.dumps(proof, separators=(",", ":"))) <= most
    assert fitted == proof if whole and depth_of(proof) <= 8 else fitted["shortened"] is True
    assert export_from_json(export_to_json(replace(EXPORT, proof=proof))).proof == fit_proof(proof, MAX_PROOF_BYTES)


def depth_of(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def test_a_proof_that_nobody_could_read_back_is_made_one():
    """Whatever an exporter counted: a row must not become invisible for it."""
    deep = "deep"
    for _ in range(30):
        deep = [deep]
    proof = {"nan": math.nan, "inf": [-math.inf], "huge": 10**400, "large": 2**64, "deep": deep, "k" * 2_000: "t" * 20_000}
    export = export_from_json(over_the_wire(export_to_json(replace(EXPORT, proof={**proof, "many": [1] * 3_000}))))
    assert export.proof["nan"] == "nan"
    assert export.proof["inf"] == ["-inf"]
    assert (export.proof["huge"], export.proof["large"]) == (None, 2.0**64)
    assert len(export.proof["many"]) == 1_000
    assert export.proof["shortened"] is True


def test_a_proof_beyond_all_bounds_is_cut_before_it_is_kept():
    """Its long lists and texts, and the rest stays."""
    huge = Export("onnx", Verdict.FAILED, "a" * 64, "b" * 64, proof={"opset": 18, "findings": ["x" * 10_000] * 900})
    value = over_the_wire(export_to_json(huge))
    assert len(json.dumps(value["proof"])) <= MAX_PROOF_BYTES + 10_000
    assert value["proof"]["opset"] == 18
    assert value["proof"]["shortened"] is True
    assert export_from_json(value).verdict is Verdict.FAILED
